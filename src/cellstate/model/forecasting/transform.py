"""Scaled values to standardised powers or logarithms and back, with the numbers of the specification on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cellstate.data.batch import DataSpec

DEVIATIONS = 10.0  # of the logarithm from its mean, to which values are clipped
NEAR = 1e-6  # relative distance from the value that no power reaches


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


class Transform:
    """Standardised logarithms of positive values ``(…, C)`` that are scaled with ``spec``."""

    words = "logarithms"

    def __init__(self, spec: DataSpec) -> None:
        self._constants = Constants(spec.mean, spec.std, spec.log_mean, spec.log_std)

    def forward(self, values: Tensor) -> Tensor:
        """Return the transformed values; those below a positive lowest one are raised to it."""
        mean, std, centre, spread = self._constants.like(values)
        lowest = (centre - DEVIATIONS * spread).exp()
        return self.of_logs((values * std + mean).maximum(lowest).log() - centre)

    def inverse(self, values: Tensor) -> Tensor:
        """Return the scaled values of transformed ones."""
        mean, std, centre, spread = self._constants.like(values)
        most = DEVIATIONS * spread
        return ((self.logs(values).clamp(-most, most) + centre).exp() - mean) / std

    def of_logs(self, logs: Tensor) -> Tensor:
        """Return the transform of logarithms less their mean."""
        return logs / self._constants.like(logs)[3]

    def logs(self, values: Tensor) -> Tensor:
        """Invert ``of_logs``."""
        return values * self._constants.like(values)[3]


class BoxCoxTransform(Transform):
    """Standardised powers, see ``data.box_cox``; with the exponent 0 the logarithms."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self._powers = Constants(spec.box_cox, spec.box_cox_mean, spec.box_cox_std)
        self.words = f"Box-Cox transform (exponent {', '.join(f'{exponent:g}' for exponent in spec.box_cox)})"

    def of_logs(self, logs: Tensor) -> Tensor:
        """Return the transform of logarithms less their mean."""
        exponent, centre, spread = self._powers.like(logs)
        safe = exponent.where(exponent != 0, 1.0)
        return (((safe * logs).expm1() / safe).where(exponent != 0, logs) - centre) / spread

    def logs(self, values: Tensor) -> Tensor:
        """Invert ``of_logs``."""
        exponent, centre, spread = self._powers.like(values)
        powers = values * spread + centre
        safe = exponent.where(exponent != 0, 1.0)
        return ((safe * powers).clamp(min=NEAR - 1).log1p() / safe).where(exponent != 0, powers)
