"""What a preset may add to a run; a run without one has the preset that adds nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import lightning as L
from lightning.pytorch.profilers import Profiler

from cellstate.data import SequenceData


class Preset:
    """Adds nothing to a run.

    Attributes:
        name: as in ``debug=NAME``; empty for a run that is none of debugging.
        scores_splits: whether the scores of the run are those of its splits, and stand beside references.
    """

    name: ClassVar[str] = ""
    scores_splits: ClassVar[bool] = True

    def prepare(self, data: SequenceData) -> None:
        """Change what training sees of the data."""

    def check(self, trainer: L.Trainer, *, again: bool) -> None:
        """Refuse a run that the preset has no meaning for.

        Args:
            trainer: of the run.
            again: whether the run goes on from a checkpoint.

        Raises:
            RequestError: says which key to change.
        """

    def callbacks(self) -> list[L.Callback]:
        """Return what watches over the training."""
        return []

    def profiler(self) -> Profiler | None:
        """Return what Lightning asks at each of its hooks; None for nothing."""
        return None

    def record(self) -> dict[str, Any]:
        """Return what ``metrics.json`` tells of the preset beside its name."""
        return {}

    def conclude(self, folder: Path, *, quiet: bool) -> None:
        """Write and print what the preset found; ``metrics.json`` is there by then.

        Raises:
            RunError: the run did not do what the preset asks of it.
        """
