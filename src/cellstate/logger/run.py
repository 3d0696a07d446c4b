"""What a run tells its loggers, and what they do with it."""

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
    """A run as it begins, or goes on.

    Attributes:
        id: the run's own, as in ``manifest.json`` and in its checkpoints.
        folder: the run's own.
        config: resolved, as ``config.yaml`` holds it.
        facts: what the results depend on beside the config, such as versions, git state and the data's fingerprint.
        sweep: the name of the sweep that the run is a job of.
        resumed: whether it goes on with what was tracked before.
    """

    id: str
    folder: Path
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    sweep: str | None = None
    resumed: bool = False

    @property
    def name(self) -> str:
        """What the run is called where several stand side by side."""
        return "-".join(filter(None, (self.debug and f"debug-{self.debug}", str(self.config["experiment"]), self.id)))

    @property
    def tags(self) -> dict[str, str]:
        """What one looks for a run by."""
        found = {"cellstate_id": self.id, "experiment": str(self.config["experiment"]), "folder": str(self.folder)}
        further = {"sweep": self.sweep, "debug": self.debug}
        return {**found, **{name: value for name, value in further.items() if value}}

    @property
    def debug(self) -> str | None:
        """The preset that the run is debugged with; None for one whose scores are results."""
        return debugged(self.config)


@dataclass(frozen=True)
class Outcome:
    """What a completed run ends with.

    Attributes:
        metrics: the content of ``metrics.json``.
        best: the row of ``metrics.csv`` whose weights were kept.
        tables: name -> rows, each a mapping from column to value.
        figures: PNG files.
        files: what else a store of results may keep: the report, config, metrics.
        checkpoint: the best one.
    """

    metrics: Mapping[str, Any]
    best: Mapping[str, float]
    tables: Mapping[str, Rows] = field(default_factory=dict)
    figures: Sequence[Path] = ()
    files: Sequence[Path] = ()
    checkpoint: Path | None = None

    @property
    def test_scores(self) -> dict[str, float]:
        """``test/NAME`` -> value for every metric of the best weights; none where there is no test split."""
        return {f"test/{name}": value for name, value in self.metrics["test"].items()}

    @property
    def scores(self) -> dict[str, float]:
        """The same of validation and test. No curve takes these up: it has the validation already."""
        return {**{f"val/{name}": value for name, value in self.metrics["val"].items()}, **self.test_scores}


class RunLogger(Logger):
    """What cellstate's loggers do beyond Lightning's, whose subclasses they are.

    They are configured before a run has its folder, so Lightning's part is set up in ``begin``. Lightning finalizes its
    loggers after each fit, validation and test; a run is over only when ``close`` says how it ended, so ``finalize``
    does nothing here.
    """

    def begin(self, run: TrackedRun) -> None:
        """Open the run, and bring its config to the disk before anything is trained.

        Raises:
            RunError: it cannot be tracked.
        """
        raise NotImplementedError

    def go_on(self, step: int) -> None:
        """Drop what was tracked after an optimiser step: a run that goes on from there makes it again."""

    def log_row(self, row: Mapping[str, float], best: Mapping[str, float]) -> None:  # noqa: ARG002
        """Log a row of ``metrics.csv``, ``best`` being the best so far."""
        self.log_metrics({name: value for name, value in row.items() if name != "step"}, step=int(row["step"]))

    def conclude(self, outcome: Outcome) -> None:
        """Log what a completed run ends with."""
        raise NotImplementedError

    def close(self, status: str) -> None:
        """Say how the run ended: completed, pruned, failed or interrupted. Nothing is logged after it."""
        raise NotImplementedError

    def finalize(self, status: str) -> None:
        """Do nothing: the run goes on."""

    @property
    def place(self) -> str:
        """The line that says where to look at the run, among the last that a run prints."""
        raise NotImplementedError


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Tell what goes wrong in a logger; the run's own folder has all that it was to get."""
    try:
        yield
    except Exception as error:
        warn(f"{what} failed ({type(error).__name__}: {error}); the run folder has it all")


def flat(values: Mapping[str, Any], prefix: str = "", *, join: str = ".") -> dict[str, Any]:
    """Return nested mappings as one, their keys joined."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{prefix}{key}{join}", join=join))
        else:
            found[f"{prefix}{key}"] = value
    return found


def require(module: str, logger: str, install: str) -> None:
    """Refuse a logger whose package is not installed.

    Raises:
        RequestError: it is not.
    """
    if find_spec(module) is None:
        raise RequestError(f"logger={logger}: needs a package that is not installed; pip install {install}")


def columns(rows: Rows) -> list[str]:
    """Return the names of a table's columns, in the order in which they come up."""
    return list(dict.fromkeys(name for row in rows for name in row))
