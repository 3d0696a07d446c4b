"""Checks of the jobs of a sweep before any of them is run."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from cellstate.config import check as checking
from cellstate.errors import RequestError
from cellstate.sweep.folder import completed_keys
from cellstate.sweep.identity import Job


class Checks:
    """Checks the configs of jobs against the signatures that they configure, as each job does at its start."""

    def __init__(self, folder: Path) -> None:
        self._complete = completed_keys(folder)
        self._problems: dict[str, None] = {}  # each once, in order

    def check(self, config: DictConfig, job: Job) -> None:
        """Collect the problems of the config of a job."""
        if job.key in self._complete:
            return
        import torch

        from cellstate.training.build import check_optimizer
        from cellstate.training.settings import Settings

        try:
            checking.check(config)
            check_optimizer(Settings.of(config).optimizer, [torch.nn.Parameter(torch.zeros(2, 2))])
        except RequestError as error:
            self._problems.update(dict.fromkeys(error.problems))

    def raise_problems(self) -> None:
        """Raise RequestError with one line for each problem, if there are any."""
        if self._problems:
            raise RequestError(*self._problems)
