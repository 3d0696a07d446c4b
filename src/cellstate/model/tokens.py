"""Base class of models that predict the next token at every step: cross-entropy over the counted targets."""

from __future__ import annotations

from torch import Tensor, nn

from cellstate.data.batch import Batch
from cellstate.metrics.precision import at_least_single
from cellstate.metrics.tokens import IGNORED, TokenScores
from cellstate.model.base import SequenceModel


class TokenModel(SequenceModel):
    """A model whose output is logits ``(B, T, V)`` of the symbols of ``spec.vocabulary``."""

    needs = "vocabulary"

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats per target; 0 if all targets of this process are IGNORED."""
        total = nn.functional.cross_entropy(
            at_least_single(output.flatten(0, 1)), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return total / self.loss_weight(batch).clamp(min=1)

    def loss_weight(self, batch: Batch) -> Tensor:
        """Return the number of counted targets, ``()``."""
        return (batch.targets != IGNORED).sum()

    def new_scores(self) -> TokenScores:
        """Return empty scores."""
        return TokenScores(self.device, self.spec.answer)

    def update_scores(self, scores: TokenScores, output: Tensor, batch: Batch) -> None:
        """Add one batch."""
        scores.update(output, batch.targets)
