"""A direct multi-step forecaster: the last output, which depends on the entire window, gives the entire horizon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from cellstate.config.types import NonNegativeFloat, PositiveInt, Probability
from cellstate.data.batch import Batch, DataSpec
from cellstate.data.datamodule import SequenceData
from cellstate.data.samples import WindowSamples
from cellstate.data.windows import WindowedData
from cellstate.errors import RequestError
from cellstate.metrics.forecast import ForecastScores
from cellstate.metrics.headline import Headline
from cellstate.metrics.probabilistic import LEVELS, gaussian_floor, gaussian_scores
from cellstate.model.base import BackboneFactory, OptimizerFactory, SchedulerFactory, SequenceModel
from cellstate.model.forecasting import prediction
from cellstate.model.forecasting.heads import new_head
from cellstate.model.forecasting.inspector import ForecasterInspector
from cellstate.model.inputs import as_sequences, predicting

if TYPE_CHECKING:
    import polars as pl

    from cellstate.model.material import Material, Rows
    from cellstate.plotting.parts import Section

Levels = Annotated[Sequence[float], Field(min_length=1)]


class Forecaster(SequenceModel):
    """Forecasts ``spec.horizon`` steps of ``spec.targets`` from a window of ``spec.window``.

    The window, standardised with the training split, is normalised per instance, divided into segments and processed
    by the backbone; the last output gives all steps of all targets. ``predict`` takes and returns unscaled values.

    Args:
        spec: targets, window, horizon, and mean and standard deviation of the training split.
        backbone: called with ``input_size``.
        normalisation: per instance. ``last`` subtracts the last value of the window, so that a trend can extrapolate
            beyond the range of the training split (like NLinear: Zeng et al., AAAI 2023); ``mean`` subtracts the mean
            of the window, which is less noisy than one value: for windows of full seasons; ``mean_std`` standardises
            each window (Kim et al., RevIN, ICLR 2022, without its affine part); ``none``.
        segment: time steps per recurrent step, through one linear embedding (Lin et al., SegRNN, 2023). None uses one
            season if the window contains at least four full ones, else the longest segment of which the window
            contains at least ten.
        embedding_size: width of that embedding; None feeds the values directly.
        input_noise: standard deviation of white noise added to the targets in each normalised window during training,
            which regularises (Bishop, Neural Computation 1995) if there are few windows.
        dropout: before the head, during training.
        head: ``point``; ``quantile``, the quantiles of given levels; ``gaussian``, mean and standard deviation. The
            point forecast, used for mae etc. and ``predict``, is then the median or the mean.
        quantiles: their levels: increasing, between 0 and 1, including 0.5. For the gaussian head: those scored.
        loss: of the point head, ``mae``, ``mse`` or ``huber``, on scaled values. The quantile head uses the pinball
            loss, the gaussian head the negative log-likelihood.
        optimizer: called with the parameters; None for a model that only predicts.
        scheduler: called with the optimiser and ``total_steps``.
    """

    needs = "horizon"
    headline = Headline(
        "mae",
        "mean absolute error, in the units of the data",
        loss_unit="on values standardised with the training split",
    )
    inspector_class = ForecasterInspector

    def __init__(
        self,
        spec: DataSpec,
        backbone: BackboneFactory,
        *,
        normalisation: Literal["last", "mean", "mean_std", "none"] = "last",
        segment: PositiveInt | None = None,
        embedding_size: PositiveInt | None = None,
        input_noise: NonNegativeFloat = 0.0,
        dropout: Probability = 0.0,
        head: Literal["point", "quantile", "gaussian"] = "point",
        quantiles: Levels = LEVELS,
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
        width = self.segment * (columns + len(spec.past) + len(spec.known))
        self.embedding = nn.Linear(width, embedding_size) if embedding_size else nn.Identity()
        self.backbone = backbone(input_size=embedding_size or width)
        if self.backbone.bidirectional:
            raise RequestError(
                "backbone.bidirectional=true: a forecast uses the last step, where the backward direction has seen "
                "only that step; set it to false"
            )
        self.dropout = nn.Dropout(dropout)
        self.kind = new_head(head, loss=loss, levels=quantiles)
        self.head = nn.Linear(self.backbone.output_size, spec.horizon * columns * self.kind.size)
        self.normalisation, self.input_noise = normalisation, input_noise

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Forecast from windows ``(B, window, C + F)``; all values are standardised with ``spec``.

        The C targets are followed by F covariates, which are not normalised per instance (see ``WindowedData``).

        Returns:
            ``(B, horizon, C)``; for the quantile head ``(B, horizon, C, Q)``, one per level; for the gaussian head
            ``(B, horizon, C, 2)``, mean and standard deviation.
        """
        columns = len(self.spec.targets)
        inputs, covariates = inputs[..., :columns], inputs[..., columns:]
        if self.normalisation == "last":
            centre, spread = inputs[:, -1:], None
        elif self.normalisation == "mean":
            centre, spread = inputs.mean(1, keepdim=True), None
        elif self.normalisation == "mean_std":
            centre = inputs.mean(1, keepdim=True)
            spread = inputs.std(1, keepdim=True, correction=0) + 1e-5
        else:
            centre, spread = None, None
        window = normalised(inputs, centre, spread)
        if self.training and self.input_noise:
            window = window + self.input_noise * torch.randn_like(window)
        if covariates.shape[-1]:
            window = torch.cat((window, covariates), dim=-1)
        return self.kind.placed(self._numbers(window), centre, spread)

    def _numbers(self, window: Tensor) -> Tensor:
        """Return the input of the head, ``(B, horizon, C, size)``, for windows ``(B, window, C + F)``."""
        segments = window.reshape(len(window), -1, self.segment * window.shape[-1])
        outputs, _ = self.backbone(self.embedding(segments))
        shape = (len(window), self.spec.horizon, len(self.spec.targets), self.kind.size)
        return self.head(self.dropout(outputs[:, -1])).view(shape)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the loss on values in units of the training split's standard deviation."""
        return self.kind.loss(output, batch.targets)

    def new_scores(self) -> ForecastScores:
        """Return empty scores."""
        return self.kind.new_scores(self.spec)

    def update_scores(self, scores: ForecastScores, output: Tensor, batch: Batch) -> None:
        """Add one batch."""
        scores.update(output, batch.targets)

    def references(self, data: SequenceData) -> dict[str, dict[str, float]]:
        """Return the quantile or distribution metrics of a forecaster that knows signal and noise.

        It forecasts N(signal, noise^2). ``optimum`` is its expected score, ``optimum_realised`` its score for the noise
        drawn in the windows of the reported split; there are none if the noise is unknown.
        """
        table: dict[str, dict[str, float]] = {metric: {} for metric in self.kind.metrics}
        series = data.whole_series if isinstance(data, WindowedData) else None
        samples = data.prepared.splits[data.reported_split]
        if not table or series is None or series.noise is None or not series.noise_std:
            return table
        assert isinstance(samples, WindowSamples)
        rows = samples.starts.cpu().numpy()[:, None] + np.arange(samples.horizon)
        noise = series.noise[rows]  # (N, horizon)
        floors = {
            "optimum": gaussian_floor(series.noise_std, self.kind.levels),
            "optimum_realised": gaussian_scores(0 * noise, 0 * noise + series.noise_std, noise, self.kind.levels),
        }
        return {metric: {name: floor[metric] for name, floor in floors.items()} for metric in table}

    def section(self, material: Material) -> Section:
        """Return three forecasts, the error by step, and the calibration of quantiles."""
        from cellstate.model.forecasting import figures  # loads matplotlib

        return figures.section(material)

    def tables(self, material: Material) -> dict[str, Rows]:
        """Return the three windows of the figure, step by step."""
        from cellstate.model.forecasting import figures  # loads matplotlib

        return figures.tables(material)

    def predict_file(self, data: SequenceData, path: str) -> pl.DataFrame:
        """Return the forecast after each series: id, time (or step), targets, and their quantiles."""
        return prediction.predict_file(self, data, path)

    @predicting
    def predict(self, inputs: Any, known: Any = None) -> np.ndarray:
        """Forecast from unscaled arrays or tensors.

        Args:
            inputs: one history ``(T,)`` or ``(T, C)``, or several ``(B, T)`` or ``(B, T, C)``, of at least
                ``spec.window`` steps, of which the last ``spec.window`` are used; ``(T,)`` and ``(B, T)`` for a single
                target. Covariates follow the targets, at their actual time: first those of ``spec.past``, then those
                of ``spec.known``, ``(T, C + P + K)`` or ``(B, T, C + P + K)``.
            known: the values of ``spec.known`` in the ``spec.horizon`` steps to forecast, ``(horizon, K)`` for one
                history, ``(B, horizon, K)`` for several; None if there are no such columns.

        Returns:
            ``(horizon, C)`` for one history, ``(B, horizon, C)`` for several; without the last dimension if
            the input of a single target lacks it.
        """
        mean, std = torch.tensor(self.spec.mean).double(), torch.tensor(self.spec.std).double()
        point = self.kind.point(self._read(inputs, known)) * std + mean
        return as_given(point.numpy(), inputs, self.features)

    @predicting
    def predict_quantiles(self, inputs: Any, levels: Sequence[float] | None = None, known: Any = None) -> np.ndarray:
        """Forecast quantiles from unscaled arrays or tensors.

        Args:
            inputs: as in ``predict``.
            levels: of the quantiles, between 0 and 1. The gaussian head gives any, the quantile head those that it
                was trained on; None uses those of ``model.quantiles``.
            known: as in ``predict``.

        Returns:
            as ``predict``, with an additional last dimension for the levels: ``(horizon, C, Q)`` for one history,
            ``(B, horizon, C, Q)`` for several; without C if the input of a single target lacks it.

        Raises:
            RequestError: the head is the point head, or a level is not available.
        """
        mean, std = (torch.tensor(part).double().unsqueeze(-1) for part in (self.spec.mean, self.spec.std))
        quantiles = self.kind.quantiles(self._read(inputs, known), levels) * std + mean
        return as_given(quantiles.numpy(), inputs, self.features)

    @property
    def features(self) -> int:
        """The number of columns of a history: targets and covariates."""
        return len(self.spec.targets) + len(self.spec.past) + len(self.spec.known)

    def _read(self, inputs: Any, known: Any = None) -> Tensor:
        """Return the scaled forecast for the arguments of ``predict``, in double precision on the CPU."""
        return self(self.windows(inputs, known).float().to(self.device)).double().cpu()

    def windows(self, inputs: Any, known: Any = None) -> Tensor:
        """Return the input of ``forward``, ``(B, window, C + F)``, scaled, in double precision on the CPU.

        Args:
            inputs: as in ``predict``.
            known: as in ``predict``.

        Raises:
            RequestError: their shapes do not match.
        """
        spec, rows = self.spec, as_sequences(inputs, self.features).cpu()
        if rows.shape[1] < spec.window:
            raise RequestError(
                f"a history of {rows.shape[1]} steps is too short: the model needs windows of {spec.window}"
            )
        rows = with_known(rows, known, spec)
        mean, std = spec.input_mean or spec.mean, spec.input_std or spec.std
        return (rows[:, -spec.window :] - torch.tensor(mean).double()) / torch.tensor(std).double()


def with_known(rows: Tensor, known: Any, spec: DataSpec) -> Tensor:
    """Return histories ``(B, T, C + P + K)`` with the columns known in advance shifted by ``horizon``, as in windows.

    Raises:
        RequestError: ``known`` is missing, superfluous, or not ``(B, horizon, K)`` or ``(horizon, K)``.
    """
    if not spec.known:
        if known is not None:
            raise RequestError("known=…: this model was trained without columns known in advance; omit it")
        return rows
    names, shape = ", ".join(spec.known), (len(rows), spec.horizon, len(spec.known))
    if known is None:
        raise RequestError(
            f"the model was trained with columns known in advance ({names}): give their values in the forecast steps, "
            f"predict(history, known=VALUES) of shape {shape[1:]}"
        )
    ahead = as_sequences(known, len(spec.known)).cpu()
    if ahead.shape != shape:
        raise RequestError(f"known of shape {tuple(np.shape(known))} does not match: give {names} as {shape} numbers")
    first = rows.shape[-1] - len(spec.known)
    whole = torch.cat((rows[..., first:], ahead), dim=1)
    return torch.cat((rows[..., :first], whole[:, spec.horizon :]), dim=-1)


def as_given(forecast: np.ndarray, inputs: Any, features: int) -> np.ndarray:
    """Return forecasts ``(B, horizon, C, …)`` without the dimensions that ``inputs`` of ``features`` columns lacks."""
    given = np.shape(inputs)
    if len(given) == 3:
        return forecast
    if given[-1] == features and len(given) == 2:
        return forecast[0]
    return forecast[0, :, 0] if len(given) == 1 else forecast[:, :, 0]


def default_segment(spec: DataSpec) -> int:
    """Return one season if the window contains at least four, else the longest segment that it contains ten times."""
    if spec.season > 1 and spec.window % spec.season == 0 and spec.window // spec.season >= 4:
        return spec.season
    return max(size for size in range(1, max(1, spec.window // 10) + 1) if spec.window % size == 0)


def normalised(window: Tensor, centre: Tensor | None, spread: Tensor | None) -> Tensor:
    """Return ``(window - centre) / spread``, skipping None."""
    window = window if centre is None else window - centre
    return window if spread is None else window / spread
