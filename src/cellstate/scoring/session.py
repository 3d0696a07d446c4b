"""Open a checkpoint: check its complete config against the allowed classes, and rebuild its data and model.

Errors name the file. The config is also rejected for parts that are not built here, such as callbacks: a file that
names ``os.system`` anywhere is not trustworthy.
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
        file: its path.
        content: its complete content, as written by Lightning and cellstate.
        trust: extra packages whose classes may be loaded.
    """

    file: Path
    content: dict[str, Any]
    trust: Trust = ()

    @property
    def record(self) -> dict[str, Any]:
        """cellstate's part: config, spec, fingerprint, metrics, versions and so on."""
        record: dict[str, Any] = self.content[checkpoints.KEY]
        return record

    def model(self) -> SequenceModel:
        """Return the trained model, in evaluation mode, on the CPU; see ``rebuild_model`` for errors."""
        with naming(self.file, all_errors=True), isolated():  # weights are initialised before they are loaded
            return rebuild_model(self.content, trust=self.trust)

    def data(self, **changes: Any) -> SequenceData:
        """Return its datamodule, not read yet, with changed arguments; see ``rebuild_data`` for errors."""
        with naming(self.file, all_errors=not changes):
            return rebuild_data(self.content, trust=self.trust, **changes)

    def read_data(self, **changes: Any) -> SequenceData:
        """Return its datamodule, with its data read, with changed arguments; see ``read_data`` for errors."""
        with naming(self.file, all_errors=not changes):
            return read_data(self.content, trust=self.trust, **changes)


def open_checkpoint(path: str | Path, *, trust: Trust = ()) -> Stored:
    """Open a checkpoint and check its checksum and the names in its config; no code in it is executed.

    Args:
        path: a checkpoint file, or a run folder (its best checkpoint).
        trust: extra packages whose classes may be loaded, such as ``["my_package"]``.

    Raises:
        RequestError: no such file, not a checkpoint of cellstate, damaged, or with a class that is not trusted.
    """
    file = checkpoints.find(path)
    content = checkpoints.read(file)
    with naming(file):
        check_names(content[checkpoints.KEY]["config"], trust)
    return Stored(file, content, trust)


@contextmanager
def naming(file: Path, *, all_errors: bool = False) -> Iterator[None]:
    """Prefix errors of a checkpoint's record with its path, but not errors in the user's arguments.

    Args:
        file: the checkpoint.
        all_errors: prefix all errors, as there are no user arguments.
    """
    try:
        yield
    except RequestError as error:
        if not (all_errors or isinstance(error, RecordError)):
            raise
        raise RequestError(*(f"{file}: {problem}" for problem in error.problems)) from error


@contextmanager
def asking(checkpoint: str | Path) -> Iterator[None]:
    """Name the checkpoint whose model does not support a request (RequestError)."""
    try:
        yield
    except UnsupportedError as error:
        raise RequestError(f"checkpoint={checkpoint}: contains {error}") from error
