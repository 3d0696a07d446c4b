"""Base class of classifiers of whole sequences: loss, scores, figures and predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from cellstate.data.batch import Batch
from cellstate.errors import RequestError
from cellstate.metrics.classification import ClassificationScores
from cellstate.metrics.headline import Headline
from cellstate.model.classification import prediction
from cellstate.model.classification.inspector import ClassifierInspector
from cellstate.model.inputs import predicting
from cellstate.model.pooled import PooledModel

if TYPE_CHECKING:
    import polars as pl

    from cellstate.data.datamodule import SequenceData


class SequenceClassifier(PooledModel):
    """Assigns one of ``spec.classes`` to each sequence; subclasses define the network."""

    needs = "classes"
    figures = "cellstate.model.classification.figures"
    headline = Headline("accuracy", "accuracy", loss_unit="nats per sample")
    inspector_class = ClassifierInspector
    label_smoothing: float

    def average(self, results: list[Tensor]) -> Tensor:
        """Return the logarithm of the members' mean probabilities, ``(B, K)``, as logits."""
        return torch.stack(results).log_softmax(-1).logsumexp(0) - math.log(len(results))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats per sample, with smoothed targets in training."""
        smoothing = self.label_smoothing if self.training else 0.0
        return nn.functional.cross_entropy(output, batch.targets, label_smoothing=smoothing)

    def new_scores(self) -> ClassificationScores:
        """Return empty scores."""
        return ClassificationScores()

    def predict_file(self, data: SequenceData, path: str) -> pl.DataFrame:
        """Return the class of each sequence and the probability of every class, with its id or number."""
        return prediction.predict_file(self, data, path)

    @predicting
    def predict(self, inputs: Any, lengths: Sequence[int] | Tensor | None = None) -> dict[str, Any]:
        """Classify unscaled arrays or tensors.

        Args:
            inputs: one sequence ``(T,)`` or ``(T, F)``, or several ``(B, T)`` or ``(B, T, F)``; without the last
                dimension there is one feature.
            lengths: valid steps of each row, if rows are padded.

        Returns:
            ``classes (B,)`` indices, ``labels (B,)`` names, ``probabilities (B, K)``; for a single sequence
            without the first dimension: ``classes ()``, ``labels ()``, ``probabilities (K,)``.

        Raises:
            RequestError: the inputs are not an array of numbers, have the wrong shape, or contain unknown values.
        """
        rows, valid = self._rows(inputs, lengths)
        probabilities = self(rows, valid).double().softmax(-1).cpu().numpy()
        classes = probabilities.argmax(-1)
        result = {
            "classes": classes,
            "labels": np.asarray(self.spec.classes)[classes],
            "probabilities": probabilities,
        }
        return {name: values[0] for name, values in result.items()} if self._is_single(inputs) else result

    @predicting
    def attention(self, inputs: Any, lengths: Sequence[int] | Tensor | None = None) -> np.ndarray:
        """Return the attention weight of each step of the backbone, ``(B, S)``: 0 on the padding; each row sums to 1.

        Args:
            inputs: as in ``predict``; for a single sequence the result is ``(S,)``.
            lengths: valid steps of each row, if rows are padded.

        Raises:
            RequestError: the model has another pooling, or the inputs are invalid.
        """
        if self.pooling.how != "attention":
            raise RequestError(f"model.pooling={self.pooling.how} has no weights; train with model.pooling=attention")
        weights = self.pooling.weights(*self.read(*self._rows(inputs, lengths))).double().cpu().numpy()
        return weights[0] if self._is_single(inputs) else weights
