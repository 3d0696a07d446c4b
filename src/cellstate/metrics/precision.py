"""The precision that scores and losses of predictions are computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(values: Tensor) -> Tensor:
    """Return 16-bit values as 32-bit ones, in which a softmax keeps its detail, and wider ones as they are."""
    return values if values.dtype == torch.float64 else values.float()
