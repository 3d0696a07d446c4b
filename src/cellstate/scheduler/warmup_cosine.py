"""Linear warm-up, then half a cosine down: the schedule that most sequence models are trained with."""

from __future__ import annotations

import math
from typing import Any

import torch

from cellstate.config.types import Share
from cellstate.errors import RequestError


def warmup_cosine(
    optimizer: torch.optim.Optimizer, total_steps: float, *, warmup: Share = 0.05, final: Share = 0.01
) -> dict[str, Any]:
    """Return a schedule over ``total_steps`` optimiser steps, in the form that Lightning takes.

    The factor on the learning rate rises in a straight line from 0 to 1 over the first ``warmup`` share of the
    steps, then falls as ``final + (1 - final) (1 + cos(pi x)) / 2`` (Loshchilov & Hutter, ICLR 2017), x from 0 to 1.

    Raises:
        RequestError: the run has no end that is known beforehand.
    """
    if math.isinf(total_steps):
        raise RequestError(
            "scheduler: this schedule spans the run, and the run has no end; "
            "set trainer.max_epochs or trainer.max_steps, or take scheduler=none or scheduler=plateau"
        )
    warm_steps = max(1, round(warmup * total_steps)) if warmup else 0

    def factor(step: int) -> float:
        if step < warm_steps:
            return (step + 1) / warm_steps
        progress = min(1.0, (step - warm_steps) / max(1, total_steps - warm_steps))
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    return {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, factor), "interval": "step"}
