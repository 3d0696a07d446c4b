"""Running the job of a trial, in the process that the launcher chose for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cellstate.runs.watching import watched_by
from cellstate.sweep.job import SweepTask
from cellstate.sweep.search.watcher import Place, TrialWatcher


class TrialTask(SweepTask):
    """A job of a sweep whose validations are reported to the study of a search.

    Attributes:
        places: the hash of a job -> where its trial is found.
    """

    places: dict[str, Place]

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.places = {}

    def work(self, config: DictConfig, folder: Path, key: str) -> None:
        """Train a new run in ``folder``, or go on with the one that it holds, with the study looking on."""
        place = self.places.get(key)
        with watched_by(None if place is None else TrialWatcher(place)):
            super().work(config, folder, key)
