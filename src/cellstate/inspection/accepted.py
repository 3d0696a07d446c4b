"""What is given to ``inspect_network``, held against what it takes before anything is measured or written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellstate.backbone.padding import length_range
from cellstate.backbone.transparent import fast
from cellstate.errors import RequestError

Outputs = Callable[[Tensor], Tensor]
Divergence = Callable[[Tensor, Tensor], Tensor]


def check_functions(**functions: Any) -> None:
    """Refuse what is no function (RequestError)."""
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise RequestError(f"{name}: should be a function of tensors, not {spoken(function)}")


def as_inputs(given: Any, network: nn.Module, lengths: Any) -> tuple[Tensor, Tensor | None]:
    """Return inputs ``(B, T, F)``, zero on padding, and lengths ``(B,)``, as tensors.

    Args:
        given: a tensor or an array of floating-point numbers, or lists of numbers.
        network: what is to read them.
        lengths: valid steps of each row, as integers; None: all.

    Raises:
        RequestError: they are something else, none, of another shape, not finite, or the network is no recurrent one.
    """
    try:
        reads = fast(network)  # type: ignore[arg-type]
    except ValueError as error:
        raise RequestError(f"network: {error}") from error
    inputs = as_tensor(given, "inputs")
    shape = tuple(inputs.shape)
    if inputs.ndim != 3:
        raise RequestError(
            f"inputs of shape {shape}: give (B, T, F), sequences, steps and features; of one feature, inputs[..., None]"
        )
    if not inputs.is_floating_point():
        raise RequestError(
            f"inputs hold {spoken_type(inputs)}: give floating-point numbers, such as inputs.float(); of symbols, "
            "what their embedding makes of them"
        )
    if 0 in shape[:2]:
        raise RequestError(f"inputs of shape {shape}: there is no {'step' if shape[0] else 'sequence'} to look at")
    if shape[2] != reads.input_size:
        features = f"{reads.input_size} feature{'s' if reads.input_size != 1 else ''}"
        raise RequestError(f"inputs of shape {shape}: the {type(network).__name__} reads {features}, got {shape[2]}")
    stops = as_lengths(lengths, inputs)
    if stops is not None:
        padding = torch.arange(shape[1], device=inputs.device) >= stops.to(inputs.device)[:, None]
        inputs = inputs.masked_fill(padding.unsqueeze(-1), 0)
    refuse_infinite(inputs.to(next(reads.parameters()).dtype))
    return inputs, stops


def as_lengths(given: Any, inputs: Tensor) -> Tensor | None:
    """Return the valid steps of each row, ``(B,)``; None where none are given.

    Raises:
        RequestError: they are no integers, or none of these inputs.
    """
    if given is None:
        return None
    lengths = as_tensor(given, "lengths", whole=True)
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise RequestError(f"lengths hold {spoken_type(lengths)}: give whole numbers")
    try:
        length_range(lengths, inputs)
    except ValueError as error:
        raise RequestError(str(error)) from error
    return lengths.long()


def as_tensor(given: Any, name: str, *, whole: bool = False) -> Tensor:
    """Return a tensor, an array or lists of numbers as a tensor; numbers in lists, which have no type, as it is asked.

    Raises:
        RequestError: it holds no numbers, or lists of several lengths.
    """
    if isinstance(given, Tensor):
        return given.detach()
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RequestError(
            f"{name}: no array of numbers, or lists of several lengths; pad them, and give lengths="
        ) from error
    if array.dtype.kind not in "iufbc":
        raise RequestError(f"{name}: {spoken(given)} holds no numbers; give a tensor or an array of them")
    kind: Any = array.dtype.newbyteorder("=")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        kind = np.float64
    if not isinstance(given, np.ndarray) and not whole and array.dtype.kind in "iu":
        kind = np.float64
    return torch.from_numpy(np.array(array, dtype=kind, order="C"))


def as_features(given: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Return what to call each feature; of a single one without a name, nothing.

    Raises:
        RequestError: these are no names, or not as many as there are features.
    """
    if given is None:
        return tuple(f"feature {number}" for number in range(1, count + 1)) if count > 1 else ()
    names = () if isinstance(given, str) else tuple(given)
    if len(names) != count or not all(isinstance(name, str) for name in names):
        raise RequestError(f"features={given!r}: give the names of the {count} feature{'s' if count > 1 else ''}")
    return names


def refuse_infinite(inputs: Tensor) -> None:
    """Refuse numbers that are none, or are too large for the network (RequestError)."""
    wrong = torch.nonzero(~torch.isfinite(inputs))
    if len(wrong):
        row, step, feature = wrong[0].tolist()
        more = f", the first of {len(wrong):,}" if len(wrong) > 1 else ""
        raise RequestError(
            f"inputs: sequence {row + 1} holds {float(inputs[row, step, feature])} at step {step + 1}, feature "
            f"{feature + 1}{more}; give finite numbers"
        )


def check_outputs(outputs: Tensor) -> None:
    """Refuse a network that gives no numbers (RequestError)."""
    if not torch.isfinite(outputs).all():
        raise RequestError("network: its outputs are not finite; its weights are none of a network that was trained")


def checked_loss(loss: Outputs) -> Outputs:
    """Return the loss, which refuses to be anything but one number with a gradient (RequestError)."""

    def checked(outputs: Tensor) -> Tensor:
        value: Any = loss(outputs)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise RequestError(f"loss: gave {spoken(value)}; it should give one number, a tensor ()")
        (gradient,) = (
            torch.autograd.grad(value.sum(), outputs, retain_graph=True, allow_unused=True)
            if value.requires_grad
            else (None,)
        )
        if gradient is None:
            raise RequestError("loss: does not depend on the outputs that it is given, so that there is no gradient")
        if not torch.isfinite(value).all() or not torch.isfinite(gradient).all():
            raise RequestError(f"loss: gave {float(value.detach())}, or a gradient that is not finite")
        return value.sum()

    return checked


@torch.no_grad()
def check_prediction(predict: Outputs, outputs: Tensor, divergence: Divergence | None) -> None:
    """Refuse predictions of which no divergence can be taken.

    Args:
        predict: what gives them, from ``outputs``.
        outputs: of the network, ``(B, T, D)``.
        divergence: that of the user; None: they are taken for logits.

    Raises:
        RequestError: says what they should be.
    """
    rows = len(outputs)
    found: Any = predict(outputs)
    if not isinstance(found, Tensor) or found.ndim == 0 or len(found) != rows:
        raise RequestError(f"predict: gave {spoken(found)}; it should give a tensor (B, K), {rows} rows here")
    if divergence is None and (found.ndim != 2 or found.shape[1] < 2):
        raise RequestError(
            f"predict: gave {spoken(found)}, which is taken for logits (B, K) of 2 classes or more; of numbers, give "
            "divergence=cellstate.inspection.analysis.memory_horizon.point_divergence"
        )
    if not torch.isfinite(found).all():
        raise RequestError("predict: gave numbers that are not finite")
    if divergence is not None:
        apart: Any = divergence(found, found)
        if not isinstance(apart, Tensor) or tuple(apart.shape) != (rows,):
            raise RequestError(f"divergence: gave {spoken(apart)}; it should give a tensor (B,), {rows} numbers here")


def spoken(value: Any) -> str:
    """Return what a function gave, in words."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def spoken_type(tensor: Tensor) -> str:
    """Return the type of a tensor's numbers, as its users write it."""
    return str(tensor.dtype).removeprefix("torch.")
