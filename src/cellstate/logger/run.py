"""The interface between a run and its loggers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from cellstate.config.check import debugged
from cellstate.errors import RequestError, warn

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class TrackedRun:
    """A run at its start or when it is resumed.

    Attributes:
        id: the id of the run, as in ``manifest.json`` and its checkpoints.
        folder: the run folder.
        config: the resolved config, as in ``config.yaml``.
        facts: provenance, such as versions, git state and data fingerprint.
        sweep: name of the sweep, if the run is a job of one.
        resumed: whether the run is resumed.
    """

    id: str
    folder: Path
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    sweep: str | None = None
    resumed: bool = False

    @property
    def name(self) -> str:
        """The display name of the run."""
        return "-".join(filter(None, (self.debug and f"debug-{self.debug}", str(self.config["experiment"]), self.id)))

    @property
    def tags(self) -> dict[str, str]:
        """Tags to search for."""
        found = {"cellstate_id": self.id, "experiment": str(self.config["experiment"]), "folder": str(self.folder)}
        further = {"sweep": self.sweep, "debug": self.debug}
        return {**found, **{name: value for name, value in further.items() if value}}

    @property
    def debug(self) -> str | None:
        """The debug preset of the run; None for a regular run."""
        return debugged(self.config)


@dataclass(frozen=True)
class Outcome:
    """The results of a completed run.

    Attributes:
        metrics: the content of ``metrics.json``.
        best: the row of ``metrics.csv`` of the best checkpoint.
        tables: name -> rows, each a mapping from column to value.
        figures: PNG files.
        files: further files, such as report, config and metrics.
        checkpoint: the best checkpoint.
    """

    metrics: Mapping[str, Any]
    best: Mapping[str, float]
    tables: Mapping[str, Rows] = field(default_factory=dict)
    figures: Sequence[Path] = ()
    files: Sequence[Path] = ()
    checkpoint: Path | None = None

    @property
    def test_scores(self) -> dict[str, float]:
        """``test/NAME`` -> value for every metric of the best weights; empty without a test split."""
        return {f"test/{name}": value for name, value in self.metrics["test"].items()}

    @property
    def scores(self) -> dict[str, float]:
        """The same for validation and test."""
        return {**{f"val/{name}": value for name, value in self.metrics["val"].items()}, **self.test_scores}


class RunLogger(Logger):
    """Interface of cellstate's loggers, which are also subclasses of Lightning's.

    They are created before the run folder, so Lightning's part is initialised in ``begin``. Lightning calls
    ``finalize`` after each fit, validation and test, so it does nothing here; ``close`` ends the run.
    """

    def begin(self, run: TrackedRun) -> None:
        """Open the run and save its config before training.

        Raises:
            RunError: the run cannot be tracked.
        """
        raise NotImplementedError

    def resume_at(self, step: int) -> None:
        """Drop everything logged after an optimiser step, from which a resumed run continues."""

    def log_row(self, row: Mapping[str, float], best: Mapping[str, float]) -> None:  # noqa: ARG002
        """Log a row of ``metrics.csv``, ``best`` being the best so far."""
        self.log_metrics({name: value for name, value in row.items() if name != "step"}, step=int(row["step"]))

    def log_outcome(self, outcome: Outcome) -> None:
        """Log the results of a completed run."""
        raise NotImplementedError

    def close(self, status: str) -> None:
        """End the run as completed, pruned, failed or interrupted."""
        raise NotImplementedError

    def finalize(self, status: str) -> None:
        """Do nothing: the run continues."""

    @property
    def place(self) -> str:
        """The line printed at the end that says where to view the run."""
        raise NotImplementedError


@contextmanager
def warning_on_error(what: str) -> Iterator[None]:
    """Turn errors of a logger into warnings: the run folder has all results."""
    try:
        yield
    except Exception as error:
        warn(f"{what} failed ({type(error).__name__}: {error}); all results are in the run folder")


def flat(values: Mapping[str, Any], prefix: str = "", *, join: str = ".") -> dict[str, Any]:
    """Flatten nested mappings, joining their keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{prefix}{key}{join}", join=join))
        else:
            found[f"{prefix}{key}"] = value
    return found


def require(module: str, logger: str, install: str) -> None:
    """Check that the package of a logger is installed.

    Raises:
        RequestError: it is not installed.
    """
    if find_spec(module) is None:
        raise RequestError(f"logger={logger}: needs a package that is not installed; pip install {install}")


def columns(rows: Rows) -> list[str]:
    """Return the column names of a table, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))
