"""Scaled values to standardised logarithms and back, with the numbers of the specification kept on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cellstate.data.batch import DataSpec

DEVIATIONS = 10.0  # from the mean, to which transformed values are clipped


class Constants:
    """Numbers as tensors ``(C,)``, copied to each device once rather than at every step.

    No buffers, as these would be double precision, which not every device has, and would be cast with the weights.
    """

    def __init__(self, *numbers: Sequence[float]) -> None:
        self.numbers = numbers
        self._copies: dict[tuple[torch.dtype, torch.device], tuple[Tensor, ...]] = {}

    def like(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Return them in the type and on the device of a tensor."""
        place = tensor.dtype, tensor.device
        if place not in self._copies:
            with torch.inference_mode(False):  # a validation may come first, and training could not use its tensors
                self._copies[place] = tuple(
                    torch.tensor(part, dtype=place[0], device=place[1]) for part in self.numbers
                )
        return self._copies[place]


class Logarithm:
    """Standardised logarithms of values ``(…, C)`` that are scaled with ``spec``."""

    def __init__(self, spec: DataSpec) -> None:
        self._constants = Constants(spec.mean, spec.std, spec.log_mean, spec.log_std)

    def forward(self, values: Tensor) -> Tensor:
        """Return the transformed values; those below a positive lowest one are raised to it."""
        mean, std, centre, spread = self._constants.like(values)
        lowest = (centre - DEVIATIONS * spread).exp()
        return ((values * std + mean).maximum(lowest).log() - centre) / spread

    def inverse(self, values: Tensor) -> Tensor:
        """Return the scaled values of transformed ones."""
        mean, std, centre, spread = self._constants.like(values)
        return ((values.clamp(-DEVIATIONS, DEVIATIONS) * spread + centre).exp() - mean) / std
