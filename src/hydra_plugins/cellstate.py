"""The sweepers of cellstate where Hydra looks for plugins: it takes none from elsewhere.

Hydra imports this module at every command, so that what it stands for is loaded when a sweep begins.
"""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Delegate(Sweeper):
    """Passes all on to the sweeper that it stands for."""

    _sweeper: Sweeper

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Pass on what Hydra knows."""
        self._sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep."""
        return self._sweeper.sweep(arguments)


class GridSweeper(Delegate):
    """Every combination of the values on the command line; see ``cellstate.sweep.grid``."""

    def __init__(self, **options: Any) -> None:
        from cellstate import sweep

        self._sweeper = sweep.GridSweeper(**options)


class SearchSweeper(Delegate):
    """Trials that Optuna proposes; see ``cellstate.sweep.search``."""

    def __init__(self) -> None:
        from cellstate.sweep.search.sweeper import SearchSweeper

        self._sweeper = SearchSweeper()
