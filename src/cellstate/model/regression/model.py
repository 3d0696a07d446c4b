"""A sequence regressor: backbone, pooling to one vector per sequence, linear head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from cellstate.config.types import Probability
from cellstate.data.batch import Batch, DataSpec
from cellstate.errors import RequestError
from cellstate.metrics.headline import Headline
from cellstate.metrics.regression import RegressionScores
from cellstate.model.base import BackboneFactory, OptimizerFactory, SchedulerFactory
from cellstate.model.inputs import predicting
from cellstate.model.losses import LOSSES
from cellstate.model.pooled import PooledModel
from cellstate.model.pooling import PoolingKind
from cellstate.model.regression import prediction
from cellstate.model.regression.inspector import RegressorInspector

if TYPE_CHECKING:
    import polars as pl

    from cellstate.data.datamodule import SequenceData


class Regressor(PooledModel):
    """Predicts the values ``spec.targets`` of each sequence.

    The output of the network are z-scores, y = (value - mean) / std with ``spec.mean`` and ``spec.std`` of the training
    split for each target, so that the loss weighs all targets equally. ``predict`` and all scores but the loss and the
    ``_scaled`` ones are in the units of the data.

    Args:
        spec: input size, the names of the targets, and their mean and standard deviation in the training split.
        backbone: called with ``input_size``; may be bidirectional.
        pooling: the vector of a sequence: its ``last`` output (of each direction), or ``mean``, ``max`` or learned
            ``attention`` over its valid steps; see ``Pooling``.
        dropout: on that vector, during training.
        loss: ``mse``, ``mae`` or ``huber``, on z-scores.
        optimizer: called with the parameters; None for a model that only predicts.
        scheduler: called with the optimiser and ``total_steps``.

    Raises:
        RequestError: the data has no targets, or is forecasting data.
    """

    needs = "targets"
    figures = "cellstate.model.regression.figures"
    headline = Headline(
        "mse",
        "mean squared error, in the squared units of the data",
        loss_unit="on values standardised with the training split",
    )
    inspector_class = RegressorInspector

    def __init__(
        self,
        spec: DataSpec,
        backbone: BackboneFactory,
        *,
        pooling: PoolingKind = "last",
        dropout: Probability = 0.0,
        loss: Literal["mse", "mae", "huber"] = "mse",
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        if spec.horizon:  # its targets are columns to forecast, (B, horizon, C)
            raise RequestError(
                f"model={type(self).__name__}: this data is for forecasting {spec.horizon} steps, not for predicting "
                "values of a sequence; set model=forecaster"
            )
        super().__init__(
            spec,
            backbone,
            len(spec.targets),
            pooling=pooling,
            dropout=dropout,
            optimizer=optimizer,
            scheduler=scheduler,
        )
        self.loss_name = loss

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss over samples and targets, in units of the standard deviation of the training split."""
        return LOSSES[self.loss_name](output, batch.targets)

    def new_scores(self) -> RegressionScores:
        """Return empty scores."""
        return RegressionScores(self.spec, self.loss_name)

    def predict_file(self, data: SequenceData, path: str) -> pl.DataFrame:
        """Return the values of each sequence, with its id or number."""
        return prediction.predict_file(self, data, path)

    @predicting
    def predict(self, inputs: Any, lengths: Sequence[int] | Tensor | None = None) -> np.ndarray:
        """Predict from unscaled arrays or tensors.

        Args:
            inputs: one sequence ``(T,)`` or ``(T, F)``, or several ``(B, T)`` or ``(B, T, F)``; without the last
                dimension there is one feature.
            lengths: valid steps of each row, if rows are padded.

        Returns:
            ``(B, K)`` unscaled values, in the order of ``spec.targets``; ``(K,)`` for a single sequence.

        Raises:
            RequestError: the inputs are not an array of numbers, or have the wrong shape.
        """
        rows, valid = self._rows(inputs, lengths)
        scores = self(rows, valid).cpu().double().numpy()
        values = scores * np.asarray(self.spec.std) + np.asarray(self.spec.mean)
        return values[0] if self._is_single(inputs) else values
