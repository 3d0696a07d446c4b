"""How large a network is, and whether this machine can train it."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import nn

from cellstate.errors import RequestError
from cellstate.runs.memory import memory_bytes


def parameters_of(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def refuse_oversized(build: Callable[[], nn.Module]) -> None:
    """Refuse a network whose weights, gradients and two moments a weight, 16 bytes, exceed this machine's memory."""
    try:
        with torch.device("meta"), warnings.catch_warnings():  # shapes alone, no memory
            warnings.simplefilter("ignore")
            parameters = parameters_of(build())
    except (RuntimeError, TypeError, ValueError):
        return  # what is wrong with it shows when it is built; a backbone of the user's own may need real tensors
    there = memory_bytes()
    if 16 * parameters > there:
        raise RequestError(
            f"the network has {parameters:,} parameters, whose training takes {16 * parameters / 2**30:,.0f} GiB of "
            f"memory, and this machine has {there / 2**30:,.0f} GiB; set a smaller backbone.hidden_size"
        )
