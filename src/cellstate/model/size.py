"""The size of a network, and checks that it fits into memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cellstate.runs.memory import refuse_beyond_memory


def parameters_of(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def refuse_oversized(build: Callable[[], nn.Module]) -> None:
    """Reject a network whose weights, gradients and two optimiser moments (16 bytes per weight) exceed the memory."""
    try:
        with shapes_alone():
            parameters = parameters_of(build())
    except (RuntimeError, TypeError, ValueError):
        return  # errors are reported when it is built; custom backbones may need real tensors
    what = f"the network has {parameters:,} parameters, whose training"
    refuse_beyond_memory(16 * parameters, what, "set a smaller backbone.hidden_size")


def refuse_misfit(build: Callable[[], nn.Module], weights: Mapping[str, Tensor], *, need_memory: bool = False) -> None:
    """Reject weights that do not match a network, before allocating memory for it.

    Args:
        build: builds the network.
        weights: its state by name.
        need_memory: whether the network may be impossible to build without memory; it is then not checked.

    Raises:
        ValueError: a weight is missing, unexpected, or of another shape (it is named), or the network is too large.
    """
    try:
        with shapes_alone():
            expected = {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}
    except (RuntimeError, TypeError, ValueError) as error:
        if need_memory:
            return
        if "overflow" in str(error):  # torch's message is unclear
            raise ValueError("its sizes exceed any memory") from error
        raise
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in (*expected, *found):
        if found.get(name) != expected.get(name):
            raise ValueError(f"weight {name}: {_shape(found.get(name))} stored, {_shape(expected.get(name))} described")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else "×".join(map(str, shape)) or "one number"


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Build networks on the meta device: tensors with shapes but without content."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
