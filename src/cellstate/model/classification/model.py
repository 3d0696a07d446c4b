"""A sequence classifier: backbone, pooling to one vector per sequence, linear head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from cellstate.config.types import Probability
from cellstate.data.batch import Batch, DataSpec
from cellstate.errors import RequestError
from cellstate.metrics.classification import ClassificationScores
from cellstate.metrics.headline import Headline
from cellstate.model.base import BackboneFactory, OptimizerFactory, SchedulerFactory
from cellstate.model.classification import prediction
from cellstate.model.classification.inspector import ClassifierInspector
from cellstate.model.inputs import predicting
from cellstate.model.pooled import PooledModel
from cellstate.model.pooling import PoolingKind

if TYPE_CHECKING:
    import polars as pl

    from cellstate.data.datamodule import SequenceData
    from cellstate.model.material import Material, Rows
    from cellstate.plotting.parts import Section


class Classifier(PooledModel):
    """Assigns one of ``spec.classes`` to each sequence.

    Args:
        spec: classes and input size.
        backbone: called with ``input_size``; may be bidirectional.
        pooling: the vector of a sequence: its ``last`` output (of each direction), or ``mean``, ``max`` or learned
            ``attention`` over its valid steps; see ``Pooling``.
        dropout: on that vector, during training.
        optimizer: called with the parameters; None for a model that only predicts.
        scheduler: called with the optimiser and ``total_steps``.
    """

    needs = "classes"
    headline = Headline("accuracy", "accuracy", loss_unit="nats per sample")
    inspector_class = ClassifierInspector

    def __init__(
        self,
        spec: DataSpec,
        backbone: BackboneFactory,
        *,
        pooling: PoolingKind = "last",
        dropout: Probability = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(
            spec,
            backbone,
            len(spec.classes),
            pooling=pooling,
            dropout=dropout,
            optimizer=optimizer,
            scheduler=scheduler,
        )

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats per sample."""
        return nn.functional.cross_entropy(output, batch.targets)

    def new_scores(self) -> ClassificationScores:
        """Return empty scores."""
        return ClassificationScores()

    def section(self, material: Material) -> Section:
        """Return the confusion matrix, the scores of each class, and the calibration."""
        from cellstate.model.classification import figures  # loads matplotlib

        return figures.section(material)

    def tables(self, material: Material) -> dict[str, Rows]:
        """Return the confusion matrix."""
        from cellstate.model.classification import figures  # loads matplotlib

        return figures.tables(material)

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
        """Return the attention weight of each step, ``(B, T)``: 0 on the padding, summing to 1 in each row.

        Args:
            inputs: as in ``predict``; for a single sequence the result is ``(T,)``.
            lengths: valid steps of each row, if rows are padded.

        Raises:
            RequestError: the model has another pooling, or the inputs are invalid.
        """
        if self.pooling.how != "attention":
            raise RequestError(f"model.pooling={self.pooling.how} has no weights; train with model.pooling=attention")
        rows, valid = self._rows(inputs, lengths)
        weights = self.pooling.weights(self.backbone(rows, lengths=valid)[0], valid).double().cpu().numpy()
        return weights[0] if self._is_single(inputs) else weights
