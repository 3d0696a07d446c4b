"""The default sweeper: all combinations of the values on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from cellstate.sweep import display
from cellstate.sweep.checks import Checks
from cellstate.sweep.combinations import combinations
from cellstate.sweep.sweeper import JobSweeper


class GridSweeper(JobSweeper):
    """Runs all combinations, like Hydra's basic sweeper, and each job once.

    Args:
        max_batch_size: number of jobs per call of the launcher; None: all.
        params: overrides from the config, which those of the command line take precedence over.
    """

    def __init__(self, max_batch_size: int | None = None, params: Mapping[str, str] | None = None) -> None:
        self.max_batch_size = max_batch_size
        self.params = [f"{key}={value}" for key, value in (params or {}).items()]

    def overrides(self) -> list[Override]:
        """Return those of the config and those of the command line, which come last and take precedence."""
        return self.parsed([*self.params, *self.arguments()])

    def sweep(self, arguments: list[str]) -> list[dict[str, Any]]:  # noqa: ARG002
        """Run all combinations; return their rows in ``sweep.json``."""
        overrides = self.overrides()
        swept = [word.get_key_element() for word in overrides if word.is_sweep_override()]
        jobs, checks = [], Checks(Path(self.config.hydra.sweep.dir))
        for words in display.counted(combinations(overrides), "configs", quiet=self.quiet):
            config = self.composed(words)
            jobs.append(self.job(words, swept, config))
            checks.check(config, jobs[-1])
        checks.raise_problems()
        with self.session():
            return self.run_jobs(jobs, at_a_time=self.max_batch_size)
