"""Base class of debug presets, and the neutral preset of a regular run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import lightning as L
from lightning.pytorch.profilers import Profiler

from cellstate.data import SequenceData


class Preset:
    """A preset that changes nothing.

    Attributes:
        name: as in ``debug=NAME``; empty for a regular run.
        scores_splits: whether the run scores its splits, comparable with references.
    """

    name: ClassVar[str] = ""
    scores_splits: ClassVar[bool] = True

    def prepare(self, data: SequenceData) -> None:
        """Change the training data."""

    def check(self, trainer: L.Trainer, *, again: bool) -> None:
        """Reject a run that the preset does not support.

        Args:
            trainer: the trainer.
            again: whether the run is resumed.

        Raises:
            RequestError: names the key to change.
        """

    def callbacks(self) -> list[L.Callback]:
        """Return additional callbacks."""
        return []

    def profiler(self) -> Profiler | None:
        """Return the profiler; None for none."""
        return None

    def record(self) -> dict[str, Any]:
        """Return the entries of the preset in ``metrics.json``, besides its name."""
        return {}

    def finish(self, folder: Path, *, quiet: bool) -> None:
        """Write and print the results of the preset, after ``metrics.json`` is written.

        Raises:
            RunError: the check of the preset failed.
        """
