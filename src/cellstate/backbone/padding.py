"""Rows of different lengths in one right-padded batch, without packing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Added to the pre-activation of a gate, it makes the sigmoid exactly 1; subtracted, 0 (or 1e-38, in oneDNN), in every
# float type: the sigmoid saturates at 37 in float64 and earlier in others, and the maximum of float16 is 65504.
SATURATE = 1e4


@dataclass(frozen=True)
class Padding:
    """Which of the ``(B, T)`` steps are padding, and how to reverse the valid part of each row."""

    lengths: Tensor  # (B,) valid steps of each row
    mask: Tensor  # (B, T) bool, true on padding
    reversal: Tensor  # (B * T,) index in the flattened batch of each step of the reversed batch

    @classmethod
    def of(cls, lengths: Tensor, steps: int) -> Padding:
        """Build the mask and the reversal of a batch of ``steps`` steps, on the device of ``lengths``."""
        step = torch.arange(steps, device=lengths.device)
        row = torch.arange(len(lengths), device=lengths.device)
        mask = step >= lengths[:, None]
        source = torch.where(mask, step, lengths[:, None] - 1 - step)
        return cls(lengths, mask, (row[:, None] * steps + source).flatten())

    def clear(self, sequence: Tensor) -> Tensor:
        """Return ``(B, T, D)`` with zeros on the padding, also in place of NaN, and without gradients there."""
        return sequence.masked_fill(self.mask.unsqueeze(-1), 0)

    def reverse(self, sequence: Tensor) -> Tensor:
        """Return ``(B, T, D)`` with the valid steps of each row reversed; its own inverse.

        Rows of the flattened batch are copied, which on the CPU is many times faster than ``gather`` with an index for
        every element.
        """
        return sequence.flatten(0, 1).index_select(0, self.reversal).view(sequence.shape)


def length_range(lengths: Tensor, inputs: Tensor) -> tuple[int, int]:
    """Return the shortest and the longest of ``lengths`` ``(B,)``.

    Raises ValueError if they are invalid for ``inputs`` ``(B, T, F)``.
    """
    rows, steps = inputs.shape[:2]
    if lengths.shape != (rows,):
        raise ValueError(f"lengths must have shape ({rows},), one per row, not {tuple(lengths.shape)}")
    shortest, longest = torch.stack(lengths.aminmax()).tolist()
    if shortest < 1 or longest > steps:
        wrong = shortest if shortest < 1 else longest
        raise ValueError(f"lengths must be between 1 and {steps}, the steps of the inputs, but one of them is {wrong}")
    return shortest, longest
