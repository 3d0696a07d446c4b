"""Inspection of models that predict the next symbol after every step."""

from __future__ import annotations

import torch

from cellstate.data.batch import UNKNOWN, Batch
from cellstate.model.inspector.answers import Answers
from cellstate.model.inspector.inspector import Inspector, row_of


class EveryStepInspector(Inspector):
    """For a model whose output is logits ``(B, T, V)`` of the symbols of ``spec.vocabulary``."""

    answers_every_step = True
    prediction_kind = "categorical"
    loss_in_words = "the cross-entropy of the symbol after the last step"

    def answers(self, batch: Batch, row: int) -> Answers:
        """Return the distribution of the next symbol after each step."""
        read, vocabulary = row_of(batch, row), self.model.spec.vocabulary
        logits = self.model.compute_output(Batch(read, torch.empty(0)))[0].double().cpu()
        if UNKNOWN in vocabulary:
            logits[:, vocabulary.index(UNKNOWN)] = -torch.inf  # not a valid answer
        return Answers(vocabulary, logits.softmax(-1).numpy(), probabilities=True)
