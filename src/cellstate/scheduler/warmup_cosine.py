"""Linear warm-up followed by cosine decay."""

from __future__ import annotations

import math
from typing import Any

import torch

from cellstate.config.types import Share
from cellstate.errors import RequestError


def warmup_cosine(
    optimizer: torch.optim.Optimizer, total_steps: float, *, warmup: Share = 0.05, final: Share = 0.01
) -> dict[str, Any]:
    """Return a schedule over ``total_steps`` optimiser steps as Lightning's scheduler config.

    The factor of the learning rate rises linearly from 0 to 1 over the first ``warmup`` fraction of the
    steps, then falls as ``final + (1 - final) (1 + cos(pi x)) / 2`` (Loshchilov & Hutter, ICLR 2017), x from 0 to 1.

    Raises:
        RequestError: the total number of steps is unknown.
    """
    if math.isinf(total_steps):
        raise RequestError(
            "scheduler: warmup_cosine needs the total number of steps; "
            "set trainer.max_epochs or trainer.max_steps, or use scheduler=none or scheduler=plateau"
        )
    warm_steps = max(1, round(warmup * total_steps)) if warmup else 0

    def factor(step: int) -> float:
        if step < warm_steps:
            return (step + 1) / warm_steps
        progress = min(1.0, (step - warm_steps) / max(1, total_steps - warm_steps))
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    return {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, factor), "interval": "step"}
