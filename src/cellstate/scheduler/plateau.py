"""Reduce the learning rate when the validation loss, or another metric, stops improving."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field

from cellstate.config.types import NonNegativeInt
from cellstate.metrics.table import metric_of


def plateau(
    optimizer: torch.optim.Optimizer,
    total_steps: float,  # noqa: ARG001 (common signature of schedules)
    *,
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5,
    patience: NonNegativeInt = 5,
    monitor: str = "val/loss",
) -> dict[str, Any]:
    """Multiply the rate by ``factor`` after more than ``patience`` validations in which ``monitor`` did not improve."""
    mode = metric_of(monitor).mode or "min"
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, factor=factor, patience=patience)
    return {"scheduler": scheduler, "monitor": monitor}
