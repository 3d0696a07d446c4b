"""Dropout for sequences: one mask for all steps."""

from __future__ import annotations

from torch import Tensor, nn


class VariationalDropout(nn.Module):
    """Drops the same features of a sequence at all of its steps, other features of every other sequence.

    A mask that is drawn anew at each step is noise that a recurrent network averages out over time; one that stays has
    it do without those features (Gal & Ghahramani, 2016; Merity, Keskar & Socher, 2018, who call it locked dropout).
    What is kept is divided by its probability, so that the expectation is what it was.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.p = probability

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``inputs (B, T, D)`` with some of the D features of each of the B sequences at zero, in training."""
        if not self.training or self.p == 0:
            return inputs
        kept = inputs.new_empty(len(inputs), 1, inputs.shape[-1]).bernoulli_(1 - self.p)
        return inputs * (kept / (1 - self.p))
