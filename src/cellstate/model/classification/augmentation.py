"""Data augmentation: random variations of training sequences that preserve their class."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cellstate.config.types import NonNegativeFloat, Probability, Share
from cellstate.model.classification.normalisation import cleared, variance
from cellstate.model.pooling import padded_steps

WAVES = 4  # cosines that compose a change of speed


class Augmentation(nn.Module):
    """Varies each training sequence at each step; does nothing in evaluation (Um et al., 2017).

    It draws from torch's global generator, as dropout does, so that a resumed run draws the same numbers.

    Args:
        jitter: standard deviation of the noise added to each value, relative to that of its feature in the sequence.
        scale: standard deviation of the factor, with mean 1, of the whole sequence.
        time_warp: standard deviation of the logarithm of the speed, a sum of WAVES cosines; the first and the last
            step are kept.
        window_slice: maximum proportion cut off at the ends; the rest is stretched to the original length.
        augmented: probability that a sequence is varied.
    """

    def __init__(
        self,
        *,
        jitter: NonNegativeFloat = 0.0,
        scale: NonNegativeFloat = 0.0,
        time_warp: NonNegativeFloat = 0.0,
        window_slice: Probability = 0.0,
        augmented: Share = 1.0,
    ) -> None:
        super().__init__()
        self.jitter, self.scale, self.time_warp, self.window_slice = jitter, scale, time_warp, window_slice
        self.augmented = augmented

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return inputs ``(B, T, F)`` varied; the values of padding are arbitrary."""
        if not self.training or self.augmented == 0:
            return inputs
        varied = self._varied(inputs, lengths)
        if self.augmented == 1:
            return varied
        return torch.where(torch.rand(len(inputs), 1, 1, device=inputs.device) < self.augmented, varied, inputs)

    def _varied(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        if self.time_warp or self.window_slice:
            inputs = self._resampled(inputs, lengths)
        if self.scale:
            inputs = inputs * (1 + self.scale * torch.randn(len(inputs), 1, 1, device=inputs.device))
        if self.jitter:
            padding = None if lengths is None else padded_steps(inputs, lengths)
            _, square = variance(cleared(inputs, padding), padding)
            inputs = inputs + self.jitter * square.sqrt() * torch.randn_like(inputs)
        return inputs

    def _resampled(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        rows, steps = inputs.shape[:2]
        last = (inputs.new_full((rows, 1), steps) if lengths is None else lengths.to(inputs).unsqueeze(1)) - 1
        time = (torch.arange(steps, device=inputs.device) / last.clamp(min=1)).clamp(max=1)  # (B, T), from 0 to 1
        if self.time_warp:
            time = warped(time, self.time_warp * torch.randn(rows, WAVES, device=inputs.device) * (2 / WAVES) ** 0.5)
        if self.window_slice:
            cut, begin = torch.rand(2, rows, 1, device=inputs.device)
            time = (self.window_slice * cut * begin + (1 - self.window_slice * cut) * time).clamp(max=1)
        return interpolated(inputs, time * last)


def warped(time: Tensor, waves: Tensor) -> Tensor:
    """Return the warped ``time (B, T)``; both run from 0 to 1.

    The speed is proportional to exp(sum over k of a_k cos(pi k t)) with a = ``waves (B, K)``, integrated by the
    trapezoidal rule, so that the result is increasing.
    """
    numbers = torch.arange(1, waves.shape[1] + 1, device=time.device) * math.pi
    speed = (waves.unsqueeze(1) * torch.cos(time.unsqueeze(-1) * numbers)).sum(-1).exp()
    way = nn.functional.pad(((speed[:, 1:] + speed[:, :-1]) / 2 * time.diff(dim=1)).cumsum(1), (1, 0))
    return way / way[:, -1:].clamp(min=torch.finfo(way.dtype).tiny)


def interpolated(inputs: Tensor, places: Tensor) -> Tensor:
    """Return inputs ``(B, T, F)`` at ``places (B, T)`` between 0 and T - 1, by linear interpolation."""
    before = places.floor().clamp(0, inputs.shape[1] - 1)
    share = (places - before).unsqueeze(-1)
    before = before.long()
    after = torch.minimum(before + 1, places.ceil().long().clamp(max=inputs.shape[1] - 1))
    rows = torch.arange(len(inputs), device=inputs.device).unsqueeze(1)
    return torch.lerp(inputs[rows, before], inputs[rows, after], share)
