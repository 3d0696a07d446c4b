"""Automatic mixed precision for networks that torch's own rules do not cover."""

from __future__ import annotations

import torch
from torch import Tensor


def at_autocast_precision(tensor: Tensor) -> Tensor:
    """Cast like autocast if it is enabled.

    Otherwise a float32 input under bfloat16 autocast fails on CPUs without bfloat16 instructions (oneDNN is selected by
    the type of the input and runs in that of autocast), and states of mixed types give outputs of mixed types.
    """
    device = tensor.device.type
    if not torch.is_autocast_enabled(device) or tensor.dtype == torch.float64:
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))
