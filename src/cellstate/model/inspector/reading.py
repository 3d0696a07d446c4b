"""The inputs of a network as text and numbers: symbols by name, values unscaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cellstate.data.batch import DataSpec

FEW = 3  # most numbers shown per step


@dataclass(frozen=True)
class Reading:
    """One sequence as read by the network.

    ``names`` describes the input of each step of the network; ``values (n, F)`` are its numbers, if any, where n is a
    multiple of the steps if a step reads a segment.
    """

    names: tuple[str, ...]
    values: np.ndarray | None
    features: tuple[str, ...] = ()

    @property
    def segment(self) -> int:
        """The number of consecutive values per step of the network."""
        return 1 if self.values is None else max(1, len(self.values) // max(1, len(self.names)))


def spoken_step(values: np.ndarray) -> str:
    """Return the numbers of one step as text."""
    shown = ", ".join(f"{value:.3g}" for value in values[:FEW])
    return shown + (", …" if len(values) > FEW else "")


def symbols_of(inputs: Tensor) -> Tensor | None:
    """Return symbolic inputs ``(B, T, F)`` as indices ``(B, T)``: one-hot rows, or few values of one feature.

    None if they are numeric; symbols ``(B, T)`` are returned unchanged.
    """
    if not inputs.is_floating_point():
        return inputs if inputs.ndim == 2 else inputs[..., 0]
    if inputs.shape[-1] > 1:
        one_hot = ((inputs == 0) | (inputs == 1)).all() and (inputs.sum(-1) == 1).all()
        return inputs.argmax(-1) if one_hot else None
    values = torch.unique(inputs)
    if len(values) > 12:
        return None
    return torch.searchsorted(values, inputs.squeeze(-1).contiguous())


def symbols_read(spec: DataSpec, read: Tensor) -> Reading:
    """Return a sequence of integer symbols, ``(T,)`` or ``(T, K)``, by their names."""
    vocabularies = spec.features or (spec.vocabulary,)
    steps = read.reshape(len(read), -1).tolist()
    names = (" ".join(map(name_of, vocabularies, step)) for step in steps)
    return Reading(tuple(names), None, spec.feature_names)


def name_of(vocabulary: Sequence[str], symbol: int) -> str:
    """Return a symbol's name, or its index if it has none."""
    return vocabulary[symbol] if symbol < len(vocabulary) else str(symbol)


def numbers_read(spec: DataSpec, read: Tensor) -> Reading:
    """Return a sequence of numbers ``(T, F)``, unscaled; one-hot rows by index."""
    values = read.double().numpy()
    if spec.input_mean:
        values = values * np.asarray(spec.input_std) + np.asarray(spec.input_mean)
    codes = symbols_of(read.unsqueeze(0))
    if codes is not None and read.shape[-1] > 1:  # one-hot
        return Reading(tuple(str(code) for code in codes[0].tolist()), None)
    return Reading(tuple(map(spoken_step, values)), values, spec.feature_names)
