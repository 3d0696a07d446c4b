"""Dropout for sequences: one mask for all steps."""

from __future__ import annotations

from torch import Tensor, nn


class VariationalDropout(nn.Module):
    """Drops the same features at all steps of a sequence, independently between sequences.

    A mask drawn at each step is noise that a recurrent network can average out over time; a constant mask is not (Gal &
    Ghahramani, 2016; Merity, Keskar & Socher, 2018, who call it locked dropout). Kept features are divided by the
    probability of keeping them, which preserves the expectation.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.p = probability

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``inputs (B, T, D)`` with some of the D features of each sequence set to zero, during training."""
        if not self.training or self.p == 0:
            return inputs
        kept = inputs.new_empty(len(inputs), 1, inputs.shape[-1]).bernoulli_(1 - self.p)
        return inputs * (kept / (1 - self.p))
