"""The precision of scores and losses."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(values: Tensor) -> Tensor:
    """Return values in at least 32 bits, as a softmax in 16 bits is inaccurate."""
    return values if values.dtype == torch.float64 else values.float()
