"""A direct multi-step forecaster: the last state has seen the whole window, and emits the whole horizon."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cellstate.annotations import PositiveInt, Probability
from cellstate.data.batch import Batch, DataSpec
from cellstate.errors import RequestError
from cellstate.metrics.forecast import ForecastScores
from cellstate.model.inputs import as_sequences, predicting
from cellstate.model.sequence_model import BackboneFactory, OptimizerFactory, SchedulerFactory, SequenceModel

LOSSES = {"mae": nn.functional.l1_loss, "mse": nn.functional.mse_loss, "huber": nn.functional.smooth_l1_loss}


class Forecaster(SequenceModel):
    """Forecasts ``spec.horizon`` steps of ``spec.targets`` from a window of ``spec.window``.

    The window, scaled by the training split's z-score, is normalised per instance, cut into segments and read by
    the backbone; the last output emits all steps of all targets. ``predict`` takes and gives the data's own units.

    Args:
        spec: targets, window, horizon, and the training split's mean and standard deviation.
        backbone: called with ``input_size``.
        normalisation: per instance. ``last`` subtracts the window's last value, so that a trend carries on beyond
            the range seen in training (as NLinear does: Zeng et al., AAAI 2023); ``mean_std`` standardises each
            window (Kim et al., RevIN, ICLR 2022, without its affine part); ``none``.
        segment: steps that one recurrent step reads at once, through one linear embedding (Lin et al., SegRNN,
            2023). None takes one season where the window holds at least four whole ones, else the longest segment of
            which the window holds ten or more.
        embedding_size: width of that embedding; None feeds the values themselves.
        dropout: before the head, in training.
        loss: ``mae``, ``mse`` or ``huber``, on scaled values.
        optimizer: called with the parameters; None for a model that only predicts.
        scheduler: called with the optimiser and ``total_steps``.
    """

    needs = "horizon"

    def __init__(
        self,
        spec: DataSpec,
        backbone: BackboneFactory,
        *,
        normalisation: Literal["last", "mean_std", "none"] = "last",
        segment: PositiveInt | None = None,
        embedding_size: PositiveInt | None = None,
        dropout: Probability = 0.0,
        loss: Literal["mae", "mse", "huber"] = "mae",
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(spec, optimizer, scheduler)
        self.segment = default_segment(spec) if segment is None else segment
        if spec.window % self.segment:
            raise RequestError(
                f"model.segment={self.segment} does not divide data.window={spec.window}; "
                f"set data.window={spec.window - spec.window % self.segment or self.segment} or another segment"
            )
        columns = len(spec.targets)
        width = self.segment * columns
        self.embedding = nn.Linear(width, embedding_size) if embedding_size else nn.Identity()
        self.backbone = backbone(input_size=embedding_size or width)
        if self.backbone.bidirectional:
            raise RequestError(
                "backbone.bidirectional=true: a forecast is read off the last step, of which the backward direction "
                "has read nothing else; set it to false"
            )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.output_size, spec.horizon * columns)
        self.normalisation, self.loss_name = normalisation, loss

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return forecasts ``(B, horizon, C)`` for windows ``(B, window, C)``, both scaled by ``spec``'s z-score."""
        if self.normalisation == "last":
            centre, spread = inputs[:, -1:], None
        elif self.normalisation == "mean_std":
            centre = inputs.mean(1, keepdim=True)
            spread = inputs.std(1, keepdim=True, correction=0) + 1e-5
        else:
            centre, spread = None, None
        forecast = self._forecast(normalised(inputs, centre, spread))
        if spread is not None:
            forecast = forecast * spread
        return forecast if centre is None else forecast + centre

    def _forecast(self, window: Tensor) -> Tensor:
        segments = window.reshape(len(window), -1, self.segment * window.shape[-1])
        outputs, _ = self.backbone(self.embedding(segments))
        return self.head(self.dropout(outputs[:, -1])).view(len(window), self.spec.horizon, -1)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the loss in units of the training split's standard deviation."""
        return LOSSES[self.loss_name](output, batch.targets)

    def new_scores(self) -> ForecastScores:
        """Return empty scores."""
        return ForecastScores(self.spec, self.loss_name)

    def update_scores(self, scores: ForecastScores, output: Tensor, batch: Batch) -> None:
        """Add one batch."""
        scores.update(output, batch.targets)

    @predicting
    def predict(self, inputs: Any) -> np.ndarray:
        """Forecast from arrays or tensors in the data's own units.

        Args:
            inputs: one history ``(T,)`` or ``(T, C)``, or several ``(B, T)`` or ``(B, T, C)``, of at least
                ``spec.window`` steps, of which the last ``spec.window`` count; ``(T,)`` and ``(B, T)`` where there is
                one target.

        Returns:
            ``(horizon, C)`` for one history, ``(B, horizon, C)`` for several; without the last dimension where a
            single target was handed in without it.
        """
        rows = as_sequences(inputs, len(self.spec.targets)).cpu()
        if rows.shape[1] < self.spec.window:
            raise RequestError(
                f"a history of {rows.shape[1]} steps is too short: the model reads windows of {self.spec.window}"
            )
        mean, std = torch.tensor(self.spec.mean).double(), torch.tensor(self.spec.std).double()
        window = (rows[:, -self.spec.window :] - mean) / std
        forecast = (self(window.float().to(self.device)).double().cpu() * std + mean).numpy()
        given = np.shape(inputs)
        if len(given) == 3:
            return forecast
        if given[-1] == len(self.spec.targets) and len(given) == 2:
            return forecast[0]
        return forecast[0, :, 0] if len(given) == 1 else forecast[:, :, 0]


def default_segment(spec: DataSpec) -> int:
    """Return one season where the window holds at least four whole ones, else the longest that gives ten or more."""
    if spec.season > 1 and spec.window % spec.season == 0 and spec.window // spec.season >= 4:
        return spec.season
    return max(size for size in range(1, max(1, spec.window // 10) + 1) if spec.window % size == 0)


def normalised(window: Tensor, centre: Tensor | None, spread: Tensor | None) -> Tensor:
    """Return ``(window - centre) / spread``, leaving out what is None."""
    window = window if centre is None else window - centre
    return window if spread is None else window / spread
