"""The sweepers of cellstate where Hydra looks for plugins: it takes none from elsewhere.

Hydra imports this module at every command, so that what it stands for is loaded when a sweep begins.
"""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(Sweeper):
    """Every combination of the values on the command line; see ``cellstate.sweep.grid``."""

    def __init__(self, **options: Any) -> None:
        from cellstate import sweep

        self._sweeper = sweep.GridSweeper(**options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Pass on what Hydra knows."""
        self._sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep."""
        return self._sweeper.sweep(arguments)


class CompareSweeper(Sweeper):
    """Every variant under every seed; see ``cellstate.comparison.sweeper``."""

    def __init__(self, **options: Any) -> None:
        from cellstate.comparison.sweeper import CompareSweeper as Its

        self._sweeper = Its(**options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Pass on what Hydra knows."""
        self._sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the comparison."""
        return self._sweeper.sweep(arguments)
