"""Validate the arguments of ``inspect_network`` before anything is measured or written."""

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
    """Raise RequestError for arguments that are not callable."""
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise RequestError(f"{name}: should be a function of tensors, not {described(function)}")


def as_inputs(given: Any, network: nn.Module, lengths: Any) -> tuple[Tensor, Tensor | None]:
    """Return inputs ``(B, T, F)``, zero on padding, and lengths ``(B,)``, as tensors.

    Args:
        given: a tensor or an array of floating-point numbers, or lists of numbers.
        network: the network that reads them.
        lengths: valid steps of each row, as integers; None: all.

    Raises:
        RequestError: wrong type or shape, empty or not finite inputs, or a network that is not recurrent.
    """
    try:
        reads = fast(network)  # type: ignore[arg-type]
    except ValueError as error:
        raise RequestError(f"network: {error}") from error
    inputs = as_tensor(given, "inputs")
    shape = tuple(inputs.shape)
    if inputs.ndim != 3:
        raise RequestError(
            f"inputs of shape {shape}: expected (B, T, F), sequences, steps and features; for one feature, pass "
            "inputs[..., None]"
        )
    if not inputs.is_floating_point():
        raise RequestError(
            f"inputs of type {type_name(inputs)}: expected floating-point numbers, such as inputs.float(); for "
            "symbols, pass their embeddings"
        )
    if 0 in shape[:2]:
        raise RequestError(f"inputs of shape {shape}: no {'steps' if shape[0] else 'sequences'}; pass at least one")
    if shape[2] != reads.input_size:
        features = f"{reads.input_size} feature{'s' if reads.input_size != 1 else ''}"
        raise RequestError(f"inputs of shape {shape}: the {type(network).__name__} reads {features}, got {shape[2]}")
    stops = as_lengths(lengths, inputs)
    if stops is not None:
        padding = torch.arange(shape[1], device=inputs.device) >= stops.to(inputs.device)[:, None]
        inputs = inputs.masked_fill(padding.unsqueeze(-1), 0)
    check_finite(inputs.to(next(reads.parameters()).dtype))
    return inputs, stops


def as_lengths(given: Any, inputs: Tensor) -> Tensor | None:
    """Return the valid steps of each row, ``(B,)``, or None.

    Raises:
        RequestError: not integers, or not valid lengths of these inputs.
    """
    if given is None:
        return None
    lengths = as_tensor(given, "lengths", integer=True)
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise RequestError(f"lengths of type {type_name(lengths)}: expected integers")
    try:
        length_range(lengths, inputs)
    except ValueError as error:
        raise RequestError(str(error)) from error
    return lengths.long()


def as_tensor(given: Any, name: str, *, integer: bool = False) -> Tensor:
    """Return a tensor, an array or nested lists as a tensor; integers in lists become floats unless ``integer``.

    Raises:
        RequestError: not numbers, or lists of unequal lengths.
    """
    if isinstance(given, Tensor):
        return given.detach()
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RequestError(
            f"{name}: not an array of numbers, or lists of unequal lengths; pad them and pass lengths="
        ) from error
    if array.dtype.kind not in "iufbc":
        raise RequestError(f"{name}: {described(given)} without numbers; pass a numeric tensor or array")
    kind: Any = array.dtype.newbyteorder("=")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        kind = np.float64
    if not isinstance(given, np.ndarray) and not integer and array.dtype.kind in "iu":
        kind = np.float64
    return torch.from_numpy(np.array(array, dtype=kind, order="C"))


def as_features(given: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Return the name of each feature; empty for a single unnamed one.

    Raises:
        RequestError: not strings, or not one for each feature.
    """
    if given is None:
        return tuple(f"feature {number}" for number in range(1, count + 1)) if count > 1 else ()
    names = () if isinstance(given, str) else tuple(given)
    if len(names) != count or not all(isinstance(name, str) for name in names):
        raise RequestError(f"features={given!r}: expected the names of the {count} feature{'s' if count > 1 else ''}")
    return names


def check_finite(inputs: Tensor) -> None:
    """Raise RequestError for NaN, infinity, and numbers that overflow the network's dtype."""
    wrong = torch.nonzero(~torch.isfinite(inputs))
    if len(wrong):
        row, step, feature = wrong[0].tolist()
        more = f", the first of {len(wrong):,}" if len(wrong) > 1 else ""
        raise RequestError(
            f"inputs: sequence {row + 1} is {float(inputs[row, step, feature])} at step {step + 1}, feature "
            f"{feature + 1}{more}; pass finite numbers"
        )


def check_outputs(outputs: Tensor) -> None:
    """Raise RequestError for outputs that are not finite."""
    if not torch.isfinite(outputs).all():
        raise RequestError("network: its outputs are not finite; check its weights")


def checked_loss(loss: Outputs) -> Outputs:
    """Return the loss with checks: RequestError unless it is one finite number with a finite gradient."""

    def checked(outputs: Tensor) -> Tensor:
        value: Any = loss(outputs)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise RequestError(f"loss: returned {described(value)}; it should return one number, a tensor ()")
        (gradient,) = (
            torch.autograd.grad(value.sum(), outputs, retain_graph=True, allow_unused=True)
            if value.requires_grad
            else (None,)
        )
        if gradient is None:
            raise RequestError("loss: has no gradient, as it does not depend on the outputs passed to it")
        if not torch.isfinite(value).all() or not torch.isfinite(gradient).all():
            raise RequestError(f"loss: returned {float(value.detach())}, or its gradient is not finite")
        return value.sum()

    return checked


@torch.no_grad()
def check_prediction(predict: Outputs, outputs: Tensor, divergence: Divergence | None) -> None:
    """Check that the divergence of predictions can be computed.

    Args:
        predict: from ``outputs`` to predictions.
        outputs: of the network, ``(B, T, D)``.
        divergence: user-defined; None: predictions are logits.

    Raises:
        RequestError: predictions or divergences of the wrong type or shape.
    """
    rows = len(outputs)
    found: Any = predict(outputs)
    if not isinstance(found, Tensor) or found.ndim == 0 or len(found) != rows:
        raise RequestError(f"predict: returned {described(found)}; it should return a tensor (B, K), {rows} rows here")
    if divergence is None and (found.ndim != 2 or found.shape[1] < 2):
        raise RequestError(
            f"predict: returned {described(found)}; expected logits (B, K) of 2 classes or more; for real values, pass "
            "divergence=cellstate.inspection.analysis.memory_horizon.point_divergence"
        )
    if not torch.isfinite(found).all():
        raise RequestError("predict: returned numbers that are not finite")
    if divergence is not None:
        apart: Any = divergence(found, found)
        if not isinstance(apart, Tensor) or tuple(apart.shape) != (rows,):
            raise RequestError(
                f"divergence: returned {described(apart)}; it should return a tensor (B,), here ({rows},)"
            )


def described(value: Any) -> str:
    """Return the type, or for a tensor the shape, in words."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def type_name(tensor: Tensor) -> str:
    """Return the dtype without ``torch.``."""
    return str(tensor.dtype).removeprefix("torch.")
