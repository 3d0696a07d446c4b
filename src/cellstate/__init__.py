"""cellstate: recurrent sequence models, every metric with its optimum and baselines.

From Python::

    run = cellstate.train(["experiment=pattern", "seed=3"])
    model = cellstate.load(run.checkpoint)

The names below are imported on first use, so that ``import cellstate`` and the command line stay fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cellstate.api import Run, backtest, benchmark, evaluate, inspect, inspect_network, load, resume, train

__all__ = [
    "Run",
    "__version__",
    "backtest",
    "benchmark",
    "evaluate",
    "inspect",
    "inspect_network",
    "load",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in __all__ and name != "__version__":
        from cellstate import api

        return getattr(api, name)
    raise AttributeError(f"module 'cellstate' has no attribute {name!r}")
