"""A checkpoint as it is used: opened once, its whole config held against the lists, its data and model built again.

What goes wrong with a file names the file. Its config is refused as a whole, also for parts that are not built here,
such as callbacks: whoever writes ``os.system`` there means no good with the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellstate import checkpoint as checkpoints
from cellstate.checkpoint.trust import RecordError, Trust
from cellstate.data import SequenceData
from cellstate.errors import RequestError, UnsupportedError
from cellstate.model import SequenceModel
from cellstate.runs.isolation import isolated
from cellstate.scoring.permitted import check_names
from cellstate.scoring.rebuild import read_data, rebuild_data, rebuild_model


@dataclass(frozen=True)
class Stored:
    """An open checkpoint.

    Attributes:
        file: where it lies.
        content: all that it holds, as Lightning and cellstate wrote it.
        trust: packages whose classes it may name besides cellstate's own.
    """

    file: Path
    content: dict[str, Any]
    trust: Trust = ()

    @property
    def record(self) -> dict[str, Any]:
        """What cellstate keeps in it: config, spec, fingerprint, metrics, versions and the like."""
        record: dict[str, Any] = self.content[checkpoints.KEY]
        return record

    def model(self) -> SequenceModel:
        """Return the trained model, in evaluation mode, on the CPU; see ``rebuild_model`` for errors."""
        with naming(self.file, whatever=True), isolated():  # weights are drawn before they are loaded
            return rebuild_model(self.content, trust=self.trust)

    def data(self, **changes: Any) -> SequenceData:
        """Return its data, not read yet, with changed arguments; see ``rebuild_data`` for errors."""
        with naming(self.file, whatever=not changes):
            return rebuild_data(self.content, trust=self.trust, **changes)

    def read_data(self, **changes: Any) -> SequenceData:
        """Return its data, read, with changed arguments; see ``read_data`` for errors."""
        with naming(self.file, whatever=not changes):
            return read_data(self.content, trust=self.trust, **changes)


def open_checkpoint(path: str | Path, *, trust: Trust = ()) -> Stored:
    """Return a checkpoint, checked from its checksum to the names in its config; nothing in it is run.

    Args:
        path: a file, or a run folder, whose best one is taken.
        trust: packages whose classes it may name, such as ``["my_package"]``.

    Raises:
        RequestError: no such file, not a checkpoint of cellstate, damaged, or of a class that is not trusted.
    """
    file = checkpoints.find(path)
    content = checkpoints.read(file)
    with naming(file):
        check_names(content[checkpoints.KEY]["config"], trust)
    return Stored(file, content, trust)


@contextmanager
def naming(file: Path, *, whatever: bool = False) -> Iterator[None]:
    """Name the file in what is wrong with its record; what is wrong with what the user gave speaks for itself.

    Args:
        file: the checkpoint.
        whatever: whether all that can be wrong inside is its record's, as the user gave nothing.
    """
    try:
        yield
    except RequestError as error:
        if not (whatever or isinstance(error, RecordError)):
            raise
        raise RequestError(*(f"{file}: {problem}" for problem in error.problems)) from error


@contextmanager
def asking(checkpoint: str | Path) -> Iterator[None]:
    """Say which checkpoint holds the model that does not offer what it is asked for (RequestError)."""
    try:
        yield
    except UnsupportedError as error:
        raise RequestError(f"checkpoint={checkpoint}: holds {error}") from error
