"""A sequence classifier: backbone, pooling to one vector per sequence, linear head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from cellstate.config.types import Probability
from cellstate.data.batch import Batch, DataSpec
from cellstate.errors import RequestError
from cellstate.metrics.classification import ClassificationScores
from cellstate.metrics.headline import Headline
from cellstate.model.base import BackboneFactory, OptimizerFactory, SchedulerFactory, SequenceModel
from cellstate.model.classification import prediction
from cellstate.model.classification.inspector import ClassifierInspector
from cellstate.model.inputs import as_sequences, predicting
from cellstate.model.pooling import Pooling, PoolingKind, padded_steps

if TYPE_CHECKING:
    import polars as pl

    from cellstate.data.datamodule import SequenceData
    from cellstate.model.material import Material, Rows
    from cellstate.plotting.parts import Section


class Classifier(SequenceModel):
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
        super().__init__(spec, optimizer, scheduler)
        self.backbone = backbone(input_size=spec.input_size)
        self.pooling = Pooling(self.backbone, pooling)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.output_size, len(spec.classes))

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits ``(B, K)`` for sequences ``(B, T, F)``."""
        outputs, _ = self.backbone(inputs, lengths=lengths)
        return self.head(self.dropout(self.pooling(outputs, lengths)))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats per sample."""
        return nn.functional.cross_entropy(output, batch.targets)

    def new_scores(self) -> ClassificationScores:
        """Return empty scores."""
        return ClassificationScores()

    def update_scores(self, scores: ClassificationScores, output: Tensor, batch: Batch) -> None:
        """Add one batch."""
        scores.update(output, batch.targets)

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

    def _rows(self, inputs: Any, lengths: Sequence[int] | Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the arguments of ``forward``: ``(B, T, F)`` scaled as in training, and lengths ``(B,)``."""
        rows = as_sequences(inputs, self.spec.input_size)
        valid = None if lengths is None else torch.as_tensor(lengths, device=rows.device)
        if self.spec.input_values:
            self._reject_unknown(rows, valid)
        if self.spec.input_mean:  # in double precision, for features with large values
            mean, std = (rows.new_tensor(values) for values in (self.spec.input_mean, self.spec.input_std))
            rows = (rows - mean) / std
        return rows.float().to(self.device), None if valid is None else valid.to(self.device)

    def _reject_unknown(self, rows: Tensor, lengths: Tensor | None) -> None:
        known = rows.new_tensor(self.spec.input_values)
        strange = ~torch.isclose(rows.unsqueeze(-1), known, rtol=1e-5, atol=1e-6).any(-1)
        if lengths is not None:
            strange = strange.masked_fill(padded_steps(rows, lengths), False)
        if strange.any():
            row, step, _ = strange.nonzero()[0].tolist()
            raise RequestError(
                f"inputs contain {rows[strange][0].item():g} in sequence {row}, step {step} (from 0); "
                f"the data has only the values {', '.join(f'{value:g}' for value in self.spec.input_values)}"
            )

    def _is_single(self, inputs: Any) -> bool:
        """Return whether the inputs are a single sequence, ``(T,)`` or ``(T, F)``, and not a batch."""
        given = np.shape(inputs)
        return len(given) == 1 or (len(given) == 2 and given[-1] == self.spec.input_size)
