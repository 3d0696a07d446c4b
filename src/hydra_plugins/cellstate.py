"""The sweepers of cellstate where Hydra looks for plugins: it takes none from elsewhere.

Hydra imports this module at every command, so that what it stands for is loaded when a sweep begins.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Delegate(Sweeper):
    """Passes on what Hydra asks to a sweeper of the same name, which it loads."""

    home: str

    def __init__(self, **options: Any) -> None:
        self._sweeper = getattr(import_module(self.home), type(self).__name__)(**options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Pass on what Hydra knows."""
        self._sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep."""
        return self._sweeper.sweep(arguments)


class GridSweeper(Delegate):
    """Every combination of the values on the command line."""

    home = "cellstate.sweep"


class SearchSweeper(Delegate):
    """Trials that Optuna proposes."""

    home = "cellstate.sweep.search.sweeper"


class CompareSweeper(Delegate):
    """Every variant under every seed, and which differences are shown."""

    home = "cellstate.sweep.compare.sweeper"
