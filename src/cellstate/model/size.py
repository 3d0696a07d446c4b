"""How large a network is, and whether this machine can train it."""

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
    """Reject a network whose weights, gradients and two moments a weight, 16 bytes, exceed this machine's memory."""
    try:
        with shapes_alone():
            parameters = parameters_of(build())
    except (RuntimeError, TypeError, ValueError):
        return  # what is wrong with it shows when it is built; a backbone of the user's own may need real tensors
    what = f"the network has {parameters:,} parameters, whose training"
    refuse_beyond_memory(16 * parameters, what, "set a smaller backbone.hidden_size")


def refuse_misfit(build: Callable[[], nn.Module], weights: Mapping[str, Tensor], *, need_memory: bool = False) -> None:
    """Reject weights that are not those of a network, before any memory is taken for it.

    Args:
        build: builds the network.
        weights: its state by name.
        need_memory: whether it may be a network that cannot be built without memory, of which nothing is said then.

    Raises:
        ValueError: names a weight that is missing, too much, or of another shape; or no memory holds the network.
    """
    try:
        with shapes_alone():
            expected = {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}
    except (RuntimeError, TypeError, ValueError) as error:
        if need_memory:
            return
        if "overflow" in str(error):  # torch's own words say neither of what nor why
            raise ValueError("its sizes are larger than any memory") from error
        raise
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in (*expected, *found):
        if found.get(name) != expected.get(name):
            raise ValueError(f"weight {name}: {_shape(found.get(name))} stored, {_shape(expected.get(name))} described")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else "×".join(map(str, shape)) or "one number"


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Have networks built without memory: their tensors have shapes, and no content."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
