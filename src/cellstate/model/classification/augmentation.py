"""Augmentation: variations of training sequences that leave their class what it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cellstate.config.types import NonNegativeFloat, Probability, Share
from cellstate.model.classification.normalisation import cleared, variance
from cellstate.model.pooling import padded_steps

WAVES = 4  # cosines that a change of speed is made of


class Augmentation(nn.Module):
    """Varies each training sequence anew at each step, and does nothing in evaluation (Um et al., 2017).

    Draws come from torch's global generator, as those of dropout do, so that a run that is resumed goes on with the
    same ones.

    Args:
        jitter: standard deviation of the noise added to each value, in units of that of its feature in the sequence.
        scale: standard deviation of the factor, around 1, by which a whole sequence is multiplied.
        time_warp: standard deviation of the logarithm of the speed at which a sequence is passed through. It changes
            smoothly, a sum of WAVES cosines; the first and the last step stay where they are.
        window_slice: largest share of a sequence that is cut off at its ends; what remains is stretched to its length.
        augmented: probability that a sequence is varied at all.
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
        """Return inputs ``(B, T, F)`` varied; what was padding is still padding, and may hold anything."""
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
    """Return where a sequence stands at each of ``time (B, T)``, which goes from 0 to 1, as the result does.

    Its speed is proportional to exp(sum over k of a_k cos(pi k t)), the a_k being ``waves (B, K)``; integrated by the
    trapezium rule, so that the order of steps is kept whatever the waves.
    """
    numbers = torch.arange(1, waves.shape[1] + 1, device=time.device) * math.pi
    speed = (waves.unsqueeze(1) * torch.cos(time.unsqueeze(-1) * numbers)).sum(-1).exp()
    way = nn.functional.pad(((speed[:, 1:] + speed[:, :-1]) / 2 * time.diff(dim=1)).cumsum(1), (1, 0))
    return way / way[:, -1:].clamp(min=torch.finfo(way.dtype).tiny)


def interpolated(inputs: Tensor, places: Tensor) -> Tensor:
    """Return inputs ``(B, T, F)`` read at ``places (B, T)``, from 0 to T - 1, straight lines between the steps."""
    before = places.floor().clamp(0, inputs.shape[1] - 1)
    share = (places - before).unsqueeze(-1)
    before = before.long()
    after = torch.minimum(before + 1, places.ceil().long().clamp(max=inputs.shape[1] - 1))
    rows = torch.arange(len(inputs), device=inputs.device).unsqueeze(1)
    return torch.lerp(inputs[rows, before], inputs[rows, after], share)
