"""Loggers: Weights & Biases, TensorBoard, CSV, MLflow.

The names below are imported on first use, so that ``cellstate sync`` loads neither Lightning nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellstate.logger.csv import CSVLogger
    from cellstate.logger.mlflow import MLFlowLogger
    from cellstate.logger.run import Outcome, RunLogger, TrackedRun
    from cellstate.logger.tensorboard import TensorBoardLogger
    from cellstate.logger.tracking import Tracking
    from cellstate.logger.wandb import WandbLogger

_WHERE = {
    "CSVLogger": "csv",
    "MLFlowLogger": "mlflow",
    "Outcome": "run",
    "RunLogger": "run",
    "TensorBoardLogger": "tensorboard",
    "TrackedRun": "run",
    "Tracking": "tracking",
    "WandbLogger": "wandb",
}

__all__ = [
    "CSVLogger",
    "MLFlowLogger",
    "Outcome",
    "RunLogger",
    "TensorBoardLogger",
    "TrackedRun",
    "Tracking",
    "WandbLogger",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        globals()[name] = found = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
