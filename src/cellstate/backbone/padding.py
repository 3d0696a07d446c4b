"""Rows of different length in one right-padded batch, without packing them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Added to the pre-activation of a gate, it makes sigmoid 1 to the bit; subtracted, 0 (or 1e-38, in oneDNN). In every
# float type: sigmoid saturates at 37 in float64 and sooner in the others, and float16 reaches up to 65504.
SATURATE = 1e4


@dataclass(frozen=True)
class Padding:
    """Which of the ``(B, T)`` steps are padding, and how to turn the valid part of each row around."""

    lengths: Tensor  # (B,) valid steps of each row
    mask: Tensor  # (B, T) bool, true on padding
    reversal: Tensor  # (B * T,) where in the flattened batch each step of the reversed batch comes from

    @classmethod
    def of(cls, lengths: Tensor, steps: int) -> Padding:
        """Build the mask and the reversal of a batch of ``steps`` steps, on the device of ``lengths``."""
        step = torch.arange(steps, device=lengths.device)
        row = torch.arange(len(lengths), device=lengths.device)
        mask = step >= lengths[:, None]
        source = torch.where(mask, step, lengths[:, None] - 1 - step)
        return cls(lengths, mask, (row[:, None] * steps + source).flatten())

    def clear(self, sequence: Tensor) -> Tensor:
        """Return ``(B, T, D)`` with zeros on the padding; what was there is gone, NaN and its gradients included."""
        return sequence.masked_fill(self.mask.unsqueeze(-1), 0)

    def reverse(self, sequence: Tensor) -> Tensor:
        """Return ``(B, T, D)`` with the valid steps of each row in opposite order; its own inverse.

        Whole rows of the flattened batch are copied, many times faster on the CPU than ``gather`` with an
        index for every element.
        """
        return sequence.flatten(0, 1).index_select(0, self.reversal).view(sequence.shape)


def length_range(lengths: Tensor, inputs: Tensor) -> tuple[int, int]:
    """Return the shortest and the longest of ``lengths`` ``(B,)``.

    Raises ValueError if they are no valid lengths for ``inputs`` ``(B, T, F)``.
    """
    rows, steps = inputs.shape[:2]
    if lengths.shape != (rows,):
        raise ValueError(f"lengths must hold one number for each of the {rows} rows, not {tuple(lengths.shape)}")
    shortest, longest = torch.stack(lengths.aminmax()).tolist()
    if shortest < 1 or longest > steps:
        wrong = shortest if shortest < 1 else longest
        raise ValueError(f"lengths must lie between 1 and {steps}, the steps of the inputs, but one of them is {wrong}")
    return shortest, longest
