"""Loggers: Weights & Biases, TensorBoard, CSV, MLflow.

The names below are imported on first use, so that ``cellstate sync`` loads neither Lightning nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellstate.logger.csv import CSVLogger
    from cellstate.logger.mlflow import MLFlowLogger
    from cellstate.logger.tensorboard import TensorBoardLogger
    from cellstate.logger.tracking import Tracking
    from cellstate.logger.wandb import WandbLogger

__all__ = ["CSVLogger", "MLFlowLogger", "TensorBoardLogger", "Tracking", "WandbLogger"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = import_module(f"{__name__}.{name.removesuffix('Logger').lower()}")
        globals()[name] = found = getattr(module, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
