"""Run the job of a trial in the process chosen by the launcher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cellstate.runs.watching import watched_by
from cellstate.sweep.job import SweepTask
from cellstate.sweep.search.watcher import Place, TrialWatcher


class TrialTask(SweepTask):
    """A sweep task that reports the validations of its job to a study.

    Attributes:
        places: hash of a job -> location of its trial.
    """

    places: dict[str, Place]

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.places = {}

    def work(self, config: DictConfig, folder: Path, key: str) -> None:
        """Train a new run in ``folder``, or resume the existing one, reporting to the study."""
        place = self.places.get(key)
        with watched_by(None if place is None else TrialWatcher(place)):
            super().work(config, folder, key)
