"""Communication between the processes of a run; no-ops with a single process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from cellstate.errors import RequestError

T = TypeVar("T")


def total_world() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(value: T) -> list[T]:
    """Return the values of all processes by rank, in all of them; tensors must be on the CPU."""
    if total_world() == 1:
        return [value]
    values: list[Any] = [None] * total_world()
    dist.all_gather_object(values, value)
    return values


def own_of(states: list[T]) -> T:
    """Return this process's item of the result of ``gather``.

    Raises:
        RequestError: the number of processes has changed.
    """
    world = total_world()
    if len(states) != world:
        raise RequestError(
            f"the run had {len(states)} processes and would resume with {world}; use the same number of devices"
        )
    return states[dist.get_rank() if world > 1 else 0]


def on_first(compute: Callable[[list[Any]], T], value: Any) -> T:
    """Gather ``value`` in the first process, apply ``compute`` there, and broadcast the result.

    All processes get a bit-identical result, and so take the same decisions.
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
    """Return the factor of this process's mean over ``weight`` samples; None with one process.

    Gradients are averaged over W processes. With the factor W w_r / sum_r w_r, means of w_r samples each become the
    mean over all samples, for any distribution of the samples.
    """
    world = total_world()
    if world == 1:
        return None
    own = torch.as_tensor(weight, dtype=torch.float64, device=device)
    everything = own.clone()
    dist.all_reduce(everything)
    return own * world / everything.clamp(min=1)


def joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join the results of ``portable`` by rank: lists are concatenated, tensors added."""
    first, *others = parts
    total = dict(first)
    for other in others:
        for name, value in other.items():
            total[name] = total[name] + value
    return total


def portable(scores: Any) -> dict[str, Any]:
    """Return the tensors and lists of tensors of ``scores``, on the CPU."""
    kept = {}
    for name, value in vars(scores).items():
        if isinstance(value, Tensor):
            kept[name] = value.cpu()
        elif isinstance(value, list) and all(isinstance(part, Tensor) for part in value):
            kept[name] = [part.cpu() for part in value]
    return kept
