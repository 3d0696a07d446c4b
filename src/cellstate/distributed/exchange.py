"""What processes that share a run tell each other. With one process each of these is free, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from cellstate.errors import RequestError

T = TypeVar("T")


def total_world() -> int:
    """Return how many processes share the run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(value: T) -> list[T]:
    """Return the value of every process, in order of rank, in each of them; tensors must lie on the CPU."""
    if total_world() == 1:
        return [value]
    values: list[Any] = [None] * total_world()
    dist.all_gather_object(values, value)
    return values


def own_of(states: list[T]) -> T:
    """Return what of each process's states, as ``gather`` gave them, is this one's.

    Raises:
        RequestError: there were more processes, or fewer.
    """
    world = total_world()
    if len(states) != world:
        raise RequestError(
            f"the run had {len(states)} processes and would go on with {world}; give it as many devices as it had"
        )
    return states[dist.get_rank() if world > 1 else 0]


def on_first(compute: Callable[[list[Any]], T], value: Any) -> T:
    """Gather ``value`` in the first process, ``compute`` there of all of them, and return its result in each.

    So all processes hold the same result to the bit, and go the same way by it.
    """
    if total_world() == 1:
        return compute([value])
    first = dist.get_rank() == 0
    values: list[Any] | None = [None] * total_world() if first else None
    dist.gather_object(value, values)
    result = [compute(values) if values is not None else None]
    dist.broadcast_object_list(result)
    return result[0]  # type: ignore[return-value]


def share_of(weight: int | Tensor, device: torch.device) -> Tensor | None:
    """Return what this process's mean over ``weight`` samples counts for, as a factor; None with one process.

    Gradients are averaged over W processes. Multiplied by W w_r / sum_r w_r, their means of w_r samples each become the
    mean over all samples, however these were shared out.
    """
    world = total_world()
    if world == 1:
        return None
    own = torch.as_tensor(weight, dtype=torch.float64, device=device)
    everything = own.clone()
    dist.all_reduce(everything)
    return own * world / everything.clamp(min=1)


def joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join what ``portable`` gave of each process: lists one after the other in order of rank, tensors added up."""
    first, *others = parts
    whole = dict(first)
    for other in others:
        for name, value in other.items():
            whole[name] = whole[name] + value
    return whole


def portable(scores: Any) -> dict[str, Any]:
    """Return what ``scores`` has kept, its lists of tensors and its tensors, on the CPU."""
    kept = {}
    for name, value in vars(scores).items():
        if isinstance(value, Tensor):
            kept[name] = value.cpu()
        elif isinstance(value, list) and all(isinstance(part, Tensor) for part in value):
            kept[name] = [part.cpu() for part in value]
    return kept
