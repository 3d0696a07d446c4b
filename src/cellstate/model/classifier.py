"""A sequence classifier: backbone, one vector for the whole sequence, linear head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cellstate.annotations import Probability
from cellstate.backbone import Backbone, last_outputs
from cellstate.data.batch import Batch, DataSpec
from cellstate.metrics.classification import ClassificationScores
from cellstate.model.inputs import as_sequences, predicting
from cellstate.model.sequence_model import BackboneFactory, OptimizerFactory, SchedulerFactory, SequenceModel


class Classifier(SequenceModel):
    """Gives each sequence one of ``spec.classes``.

    Args:
        spec: classes and input size.
        backbone: called with ``input_size``; a bidirectional one reads the sequence both ways.
        pooling: what stands for the sequence. ``last``: the output after its last valid step; with a bidirectional
            backbone the forward direction's last and the backward direction's first, so that both have read all of
            it. ``mean`` and ``max``: over the valid steps.
        dropout: on that vector, in training.
        optimizer: called with the parameters; None for a model that only predicts.
        scheduler: called with the optimiser and ``total_steps``.
    """

    needs = "classes"

    def __init__(
        self,
        spec: DataSpec,
        backbone: BackboneFactory,
        *,
        pooling: Literal["last", "mean", "max"] = "last",
        dropout: Probability = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(spec, optimizer, scheduler)
        self.backbone = backbone(input_size=spec.input_size)
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.output_size, len(spec.classes))

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits ``(B, K)`` for sequences ``(B, T, F)``."""
        outputs, _ = self.backbone(inputs, lengths=lengths)
        return self.head(self.dropout(pool(outputs, lengths, self.pooling, self.backbone)))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy, nats a sample."""
        return nn.functional.cross_entropy(output, batch.targets)

    def new_scores(self) -> ClassificationScores:
        """Return empty scores."""
        return ClassificationScores()

    def update_scores(self, scores: ClassificationScores, output: Tensor, batch: Batch) -> None:
        """Add one batch."""
        scores.update(output, batch.targets)

    @predicting
    def predict(self, inputs: Any, lengths: Sequence[int] | Tensor | None = None) -> dict[str, np.ndarray]:
        """Classify arrays or tensors.

        Args:
            inputs: one sequence ``(T,)`` or ``(T, F)``, or several ``(B, T)`` or ``(B, T, F)``; without the last
                dimension each step is one feature.
            lengths: valid steps of each row, where rows are padded.

        Returns:
            ``classes (B,)`` indices, ``labels (B,)`` names, ``probabilities (B, K)``.
        """
        rows = as_sequences(inputs, self.spec.input_size).float().to(self.device)
        valid = None if lengths is None else torch.as_tensor(lengths, device=self.device)
        probabilities = self(rows, valid).double().softmax(-1).cpu().numpy()
        classes = probabilities.argmax(-1)
        return {
            "classes": classes,
            "labels": np.asarray(self.spec.classes)[classes],
            "probabilities": probabilities,
        }


def pool(outputs: Tensor, lengths: Tensor | None, how: str, backbone: Backbone) -> Tensor:
    """Make one vector ``(B, D)`` of the valid steps of ``outputs (B, T, D)``."""
    if how == "last":
        last = outputs[:, -1] if lengths is None else last_outputs(outputs, lengths)
        if not backbone.bidirectional:
            return last
        # The backward direction has read everything at the first step, where its half of the output is taken.
        half = outputs.shape[-1] // 2
        return torch.cat((last[:, :half], outputs[:, 0, half:]), dim=-1)
    if lengths is None:
        return outputs.mean(1) if how == "mean" else outputs.amax(1)
    steps = torch.arange(outputs.shape[1], device=outputs.device)
    padding = (steps >= lengths.to(outputs.device).unsqueeze(1)).unsqueeze(-1)
    if how == "mean":
        return outputs.masked_fill(padding, 0).sum(1) / lengths.to(outputs).unsqueeze(1)
    return outputs.masked_fill(padding, -torch.inf).amax(1)
