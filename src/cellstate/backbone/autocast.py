"""What torch's automatic mixed precision means for a network that torch's own rules do not reach."""

from __future__ import annotations

import torch
from torch import Tensor


def at_autocast_precision(tensor: Tensor) -> Tensor:
    """Cast as autocast is going to, if it is on.

    Left to torch, a float32 input under bfloat16 autocast fails on CPUs without bfloat16 instructions (oneDNN is
    picked by the input's type and runs in autocast's), and states of mixed types give outputs of mixed types.
    """
    device = tensor.device.type
    if not torch.is_autocast_enabled(device) or tensor.dtype == torch.float64:
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))
