"""Prediction: batches of sequences from lists, arrays or tensors, in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from cellstate.backbone import evaluating
from cellstate.data.files.sequences import Sequences
from cellstate.errors import RequestError

Parameters = ParamSpec("Parameters")
Model = TypeVar("Model", bound=nn.Module)
Result = TypeVar("Result")
ROWS = 256  # sequences of a file per batch


def predicting(
    method: Callable[Concatenate[Model, Parameters], Result],
) -> Callable[Concatenate[Model, Parameters], Result]:
    """Run a method without gradients and in evaluation mode; the mode of every module is restored afterwards."""

    @wraps(method)
    def run(self: Model, *args: Parameters.args, **options: Parameters.kwargs) -> Result:
        with evaluating(self), torch.no_grad():
            return method(self, *args, **options)

    return run


def as_sequences(values: Any, features: int, *, padded: bool = False) -> Tensor:
    """Return one sequence or several as ``(B, T, features)`` float64.

    ``(T,)`` and ``(B, T)`` are accepted for a single feature; ``(T, F)`` is one sequence.

    Where they may be ``padded``, they may begin with steps of nothing but NaN.

    Raises:
        RequestError: the input is not an array of numbers, has the wrong shape, or contains non-finite values.
    """
    if isinstance(values, (list, tuple)) and len({len(row) for row in values if hasattr(row, "__len__")}) > 1:
        raise RequestError(
            "inputs are sequences of different lengths; pad them at the end to equal length, and if the model takes "
            "lengths, also give lengths=[...]"
        )
    try:
        rows = torch.as_tensor(np.asarray(values) if isinstance(values, (list, tuple)) else values).double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise RequestError(
            f"inputs cannot be read as an array of numbers ({str(error).splitlines()[0]}); give lists of equal length, "
            "an array or a tensor"
        ) from error
    given = tuple(rows.shape)
    if features == 1 and (rows.ndim == 1 or (rows.ndim == 2 and given[-1] != 1)):
        rows = rows.unsqueeze(-1)
    if rows.ndim == 2:
        rows = rows.unsqueeze(0)
    if rows.ndim != 3 or rows.shape[-1] != features or 0 in rows.shape:
        raise RequestError(
            f"inputs of shape {given} do not match: give (steps, {features}) or (sequences, steps, {features})"
            + (", or the same without the last dimension" if features == 1 else "")
        )
    wrong = ~torch.isfinite(rows)
    if padded:  # steps of NaN alone before the first other one
        wrong &= ~torch.isnan(rows).all(-1, keepdim=True).cummin(1).values
    if wrong.any() or torch.isnan(rows[:, -1]).all(-1).any():
        raise RequestError("inputs contain NaN or infinite values; fill or remove them first")
    return rows


def batches(sequences: Sequences) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Yield the sequences in order, ``(B, T, F)`` padded with their last value, and their lengths ``(B,)``."""
    starts = sequences.ends - sequences.lengths
    for begin in range(0, len(sequences), ROWS):
        lengths = sequences.lengths[begin : begin + ROWS]
        steps = np.minimum(np.arange(lengths.max()), lengths[:, None] - 1)
        yield sequences.values[starts[begin : begin + ROWS, None] + steps], lengths.tolist()
