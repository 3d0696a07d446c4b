"""A direct multi-step forecaster: the last state has seen the whole window, and emits the whole horizon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

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
from cellstate.model.forecasting.arrays import as_given, scaled_windows
from cellstate.model.forecasting.choices import default_segment, described, takes_logarithms
from cellstate.model.forecasting.heads import new_head
from cellstate.model.forecasting.inspector import ForecasterInspector
from cellstate.model.forecasting.linear import LinearMap, mean_season
from cellstate.model.forecasting.normalisation import Frame, Normalisation, frame_of
from cellstate.model.forecasting.seasons import SeasonalBase, seasonal_naive
from cellstate.model.forecasting.units import relative_error, scaled_error, seasonal_error
from cellstate.model.inputs import as_sequences, predicting

if TYPE_CHECKING:
    import polars as pl

    from cellstate.model.material import Material, Rows
    from cellstate.plotting.parts import Section

Levels = Annotated[Sequence[float], Field(min_length=1)]
LossName = Literal["mae", "mse", "huber", "mase", "owa"]
SHARES = tuple(step / 10 for step in range(11))  # of the linear forecast, of which validation chooses one
FITTED_WINDOWS = 20_000  # at most so many windows fit the linear map, evenly spaced
SMALLEST_RATIO = 1e-3  # of a value to the mean of its window, as the network reads it
DEVIATIONS = 10.0  # of log values from their mean, beyond which nothing is read or forecast


class Forecaster(SequenceModel):
    """Forecasts ``spec.horizon`` steps of ``spec.targets`` from a window of ``spec.window``.

    Each window is normalised by itself, cut into segments and read by the backbone; the last output emits all steps of
    all targets, as a correction of a ``base``. Beside the network stands a ``linear`` forecast, fitted in closed form
    before training; each validation chooses by the loss how much of it the forecast takes, so that a network that
    learned nothing leaves a ridge regression. ``predict`` takes and gives the data's own units.

    What is None is decided by facts of the training rows in ``spec`` and said in the announcement.

    Args:
        spec: targets, window, horizon, and facts of the training split.
        backbone: called with ``input_size``.
        normalisation: per window. ``last`` subtracts the window's last value, so that a trend carries on beyond
            the range seen in training (as NLinear does: Zeng et al., AAAI 2023); ``mean`` subtracts the window's mean,
            which carries less of the noise than one value does: for windows of whole seasons; ``mean_std``
            standardises each window (Kim et al., RevIN, ICLR 2022, without its affine part); ``none``. None:
            ``mean_std`` where several series differ in level, else ``last``.
        transform: ``log`` reads and forecasts logarithms, for positive values whose spread grows with their level;
            ``none``. None: ``log`` where the training rows are such.
        channels: ``joint``: the network reads all targets at once; ``separate``: one after the other, with the same
            weights (as PatchTST: Nie et al., ICLR 2023).
        base: what the network corrects: ``season``, a learned mean of seasonal naive forecasts, one for each of
            ``spec.seasons`` (the last value where there is none), or ``none``, the centre of the normalisation. None:
            ``season`` where several series differ in level.
        linear: whether the linear forecast is fitted; see ``LinearMap``.
        segment: steps that one recurrent step reads at once, through one linear embedding (Lin et al., SegRNN,
            2023). None takes one season where the window holds at least four whole ones, else the longest segment of
            which the window holds ten or more.
        embedding_size: width of that embedding; None feeds the values themselves.
        input_noise: standard deviation of white noise that is added to the targets' part of each normalised window, in
            training: it acts as a penalty on steep networks (Bishop, Neural Computation 1995), where windows are few.
        dropout: before the head, in training.
        head: ``point``; ``quantile``, the quantiles of given levels; ``gaussian``, mean and standard deviation. What
            is scored as the forecast (mae and so on), and what ``predict`` gives, is the median, or the mean.
        quantiles: their levels: increasing, between 0 and 1, 0.5 among them. Of the gaussian head: those scored.
        loss: ``mae``, ``mse`` or ``huber`` on values scaled by the training split; ``mase``, in units of each
            window's own seasonal error; ``owa``, the mean of that and of the symmetric relative error, each divided by
            the seasonal naive forecast's. None: ``owa`` where several positive series differ in level, ``mase`` where
            they are not positive, else ``mae``. For the absolute error the quantile head takes the pinball loss; the
            gaussian head is trained on the negative log-likelihood whatever the loss.
        optimizer: called with the parameters; None for a model that only predicts.
        scheduler: called with the optimiser and ``total_steps``.
    """

    needs = "horizon"
    headline = Headline(
        "mae",
        "mean absolute error, in the data's own units",
        loss_unit="on values scaled to the training split's z-score",
    )
    inspector_class = ForecasterInspector
    averaged = "parts"
    share: Tensor
    naive: Tensor

    def __init__(
        self,
        spec: DataSpec,
        backbone: BackboneFactory,
        *,
        normalisation: Normalisation | None = "last",
        transform: Literal["none", "log"] | None = "none",
        channels: Literal["joint", "separate"] = "joint",
        base: Literal["none", "season"] | None = "none",
        linear: bool = False,
        segment: PositiveInt | None = None,
        embedding_size: PositiveInt | None = None,
        input_noise: NonNegativeFloat = 0.0,
        dropout: Probability = 0.0,
        head: Literal["point", "quantile", "gaussian"] = "point",
        quantiles: Levels = LEVELS,
        loss: LossName | None = "mae",
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
        several = spec.levels_differ
        self.normalisation: Normalisation = normalisation or ("mean_std" if several else "last")
        self.logarithms = takes_logarithms(spec, transform, head)
        self.loss_name: LossName = loss or (("owa" if spec.log_std else "mase") if several else "mae")
        self.together = 1 if channels == "separate" else len(spec.targets)  # targets that the network reads at once
        # Standardised, a window has lost how its movements compare with its level; its ratio to the mean says it.
        self.ratios = self.normalisation == "mean_std" and bool(spec.log_std) and not self.logarithms
        width = self.segment * (self.together * (1 + self.ratios) + len(spec.past) + len(spec.known))
        self.embedding = nn.Linear(width, embedding_size) if embedding_size else nn.Identity()
        self.backbone = backbone(input_size=embedding_size or width)
        if self.backbone.bidirectional:
            raise RequestError(
                "backbone.bidirectional=true: a forecast is read off the last step, of which the backward direction "
                "has read nothing else; set it to false"
            )
        self.dropout, self.input_noise = nn.Dropout(dropout), input_noise
        self.kind = new_head(head, loss=self.loss_name, levels=quantiles)
        self.head = nn.Linear(self.backbone.output_size, spec.horizon * self.together * self.kind.size)
        base = base or ("season" if several else "none")
        seasons = spec.seasons or (spec.season,)
        self.base = SeasonalBase(seasons, spec.window, spec.horizon) if base == "season" else None
        place = spec.season if len(spec.targets) == 1 and not several else 1
        self.linear = LinearMap(spec.window, spec.horizon, place) if linear else None
        self.register_buffer("share", torch.zeros(()))  # of the linear forecast
        self.register_buffer("naive", torch.ones(2))  # relative and scaled error of the seasonal naive forecast
        self._kept: list[tuple[Tensor, Tensor, Batch]] = []  # of the validation under way

    # ------------------------------------------------------------------ the forecast

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Forecast from windows ``(B, window, C + F)``; everything is scaled by ``spec``'s mean and deviation.

        Behind the C targets stand F covariates, which are not normalised per window (see ``WindowedData``). Steps
        before a series begins are NaN. In training the network forecasts alone.

        Returns:
            ``(B, horizon, C)``, or, from the quantile head, ``(B, horizon, C, Q)``, one for each level, and from the
            gaussian head ``(B, horizon, C, 2)``, mean and standard deviation.
        """
        forecast, line = self.parts(inputs)
        return forecast if line is None else self.combined(forecast, line, self.share)

    def parts(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what the network forecasts, as ``forward`` does, and the linear forecast ``(B, horizon, C)``."""
        window, covariates, frame = self.normalised(inputs)
        forecast = self.from_normalised(window, covariates, frame)
        if self.training or self.linear is None or not self.linear.fitted:
            return forecast, None
        rows = self.linear(window.transpose(1, 2).flatten(0, 1)).view(len(window), -1, self.spec.horizon)
        return forecast, self._from_log(frame.restored(rows.transpose(1, 2)))

    def combined(self, forecast: Tensor, line: Tensor, share: Tensor | float) -> Tensor:
        """Return the network's forecast, moved towards the linear one by a share of the way."""
        return self.kind.moved(forecast, share * (line - self.kind.point(forecast)))

    def normalised(self, inputs: Tensor) -> tuple[Tensor, Tensor, Frame]:
        """Return normalised windows ``(B, W, C)``, their covariates ``(B, W, F)``, and the units of each window."""
        columns, observed = len(self.spec.targets), None
        if self.spec.padded:
            observed = inputs[..., :columns].isfinite()
            inputs = inputs.nan_to_num(0.0)
        values = self._to_log(inputs[..., :columns])
        frame = frame_of(values, self.normalisation, observed)
        window = frame.normalised(values)
        window = window if observed is None else window.where(observed, 0.0)
        return window, inputs[..., columns:], frame

    def from_normalised(self, window: Tensor, covariates: Tensor, frame: Frame) -> Tensor:
        """Return what the network forecasts from what ``normalised`` gave."""
        numbers = self._numbers(window, covariates, frame)
        if self.base is not None:
            numbers = self.kind.shifted(numbers, self.base(window, frame.observed))
        return self.kind.mapped(self.kind.placed(numbers, frame.centre, frame.spread), self._from_log)

    def _numbers(self, window: Tensor, covariates: Tensor, frame: Frame) -> Tensor:
        """Return what the head takes, ``(B, horizon, C, size)``."""
        read = window
        if self.training and self.input_noise:
            read = read + self.input_noise * torch.randn_like(read)
        features = [read]
        if self.ratios:
            features.append(self._ratio(window, frame))
        batch, steps, columns = window.shape
        if self.together < columns:
            features = [part.transpose(1, 2).reshape(batch * columns, steps, 1) for part in features]
            covariates = covariates.repeat_interleave(columns, 0)
        if covariates.shape[-1]:
            features.append(covariates)
        joined = torch.cat(features, dim=-1) if len(features) > 1 else features[0]
        segments = joined.reshape(len(joined), -1, self.segment * joined.shape[-1])
        outputs, _ = self.backbone(self.embedding(segments))
        shape = (batch, columns // self.together, self.spec.horizon, self.together, self.kind.size)
        return self.head(self.dropout(outputs[:, -1])).view(shape).transpose(1, 2).flatten(2, 3)

    def _ratio(self, window: Tensor, frame: Frame) -> Tensor:
        """Return the log of each value over the mean of its window, 0 for steps before the series begins."""
        assert frame.centre is not None
        mean, std = self._unit(window)
        level = frame.centre * std + mean
        ratio = (frame.restored(window) * std + mean) / level.where(level > 0, 1.0)
        logs = ratio.clamp(min=SMALLEST_RATIO).log()
        return logs if frame.observed is None else logs.where(frame.observed, 0.0)

    def _unit(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the data's scaler, ``(C,)``."""
        return like.new_tensor(self.spec.mean), like.new_tensor(self.spec.std)

    def _to_log(self, values: Tensor) -> Tensor:
        """Return scaled values as the network has them: their scaled logarithms, or unchanged without ``transform``."""
        if not self.logarithms:
            return values
        mean, std = self._unit(values)
        centre, spread = values.new_tensor(self.spec.log_mean), values.new_tensor(self.spec.log_std)
        lowest = (centre - DEVIATIONS * spread).exp()
        return ((values * std + mean).maximum(lowest).log() - centre) / spread

    def _from_log(self, values: Tensor) -> Tensor:
        """Return what ``_to_log`` was given."""
        if not self.logarithms:
            return values
        mean, std = self._unit(values)
        centre, spread = values.new_tensor(self.spec.log_mean), values.new_tensor(self.spec.log_std)
        return ((values.clamp(-DEVIATIONS, DEVIATIONS) * spread + centre).exp() - mean) / std

    # ------------------------------------------------------------------ training

    @override
    def fit_closed_form(self, data: SequenceData) -> None:
        samples = data.prepared.splits["train"]
        assert isinstance(samples, WindowSamples)
        assert isinstance(data, WindowedData)
        columns = len(self.spec.targets)
        stride = -(-len(samples) * columns // FITTED_WINDOWS)
        batch = samples.batch(torch.arange(0, len(samples), stride, device=samples.starts.device))
        inputs, targets = batch.inputs.double(), batch.targets.double()
        full = inputs.isfinite().flatten(1).all(1)
        inputs, targets = inputs[full], targets[full]
        if not len(inputs):
            return
        self._measure_naive(inputs, targets)
        if self.linear is None:
            return
        window, _, frame = self.normalised(inputs)
        wanted = frame.normalised(self._to_log(targets))
        profile = None
        if self.linear.season > 1 and len(data.windows.training) == 1:
            training = torch.from_numpy(data.windows.training[0]).double()
            mean, std = self._unit(training)
            profile = mean_season(self._to_log((training - mean) / std)[:, 0], self.linear.season)
        windows, horizons = (part.transpose(1, 2).flatten(0, 1) for part in (window, wanted))  # in order of time
        self.linear.fit(windows, horizons, profile, overlap=columns * -(-(self.spec.horizon - 1) // stride))

    def _measure_naive(self, inputs: Tensor, targets: Tensor) -> None:
        """Set the units of the ``owa`` loss."""
        history = inputs[..., : targets.shape[-1]]
        naive = seasonal_naive(history, self.spec.season, self.spec.horizon)
        relative, scaled = (part.mean() for part in self._errors(naive, (naive - targets).abs(), history, targets))
        self.naive.copy_(torch.stack((relative, scaled)).clamp(min=1e-6))

    def _errors(self, point: Tensor, error: Tensor, history: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return relative errors and errors in units of the seasonal error, ``(B, horizon, C)`` each."""
        observed = history.isfinite() if self.spec.padded else None
        known = history if observed is None else history.nan_to_num(0.0)
        mean, std = self._unit(truth)
        scaled = scaled_error(error, seasonal_error(known, self.spec.season, observed))
        return relative_error(point * std + mean, truth * std + mean), scaled

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the loss on values in units of the training split's standard deviation, or of each window's error."""
        if self.loss_name in ("mase", "owa") and self.kind.in_units:
            return self._losses(output, batch).mean()
        return self.kind.loss(output, batch.targets)

    def _losses(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the ``mase`` or ``owa`` loss of each sample, ``(B,)``."""
        history = batch.inputs[..., : batch.targets.shape[-1]]
        error = self.kind.errors(output, batch.targets)
        relative, scaled = self._errors(self.kind.point(output), error, history, batch.targets)
        if self.loss_name == "mase":
            return scaled.mean((1, 2))
        return (relative.mean((1, 2)) / self.naive[0] + scaled.mean((1, 2)) / self.naive[1]) / 2

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch; while training, at the end, as the share of the linear forecast is not known before."""
        if self.trainer.state.fn != "fit" or self.linear is None or not self.linear.fitted:
            return super().validation_step(batch, batch_idx)
        forecast, line = self.parts(batch.inputs)
        assert line is not None
        self._kept.append((forecast, line, batch))
        return None

    @override
    def on_validation_epoch_end(self) -> None:
        """Choose the share of the linear forecast, then compute the scores of the whole split."""
        if self._kept:
            losses = torch.zeros(len(SHARES), dtype=torch.float64, device=self.device)
            for forecast, line, batch in self._kept:
                found = [self.loss(self.combined(forecast, line, share), batch) for share in SHARES]
                losses += torch.stack(found).double() * len(batch.inputs)
            losses = self.trainer.strategy.reduce(losses, reduce_op="sum")
            assert isinstance(losses, Tensor)
            self.share.fill_(SHARES[int(losses.argmin())])
            for forecast, line, batch in self._kept:
                self.update_scores(self._scores, self.combined(forecast, line, self.share), batch)
            self._kept = []
        super().on_validation_epoch_end()

    def new_scores(self) -> ForecastScores:
        """Return empty scores."""
        return self.kind.new_scores(self.spec)

    def update_scores(self, scores: ForecastScores, output: Tensor, batch: Batch) -> None:
        """Add one batch."""
        scores.update(output, batch.targets)
        if self.loss_name in ("mase", "owa") and self.kind.in_units:
            scores.losses.append(self._losses(output, batch))

    @override
    def facts(self) -> tuple[str, ...]:
        return described(self)

    def references(self, data: SequenceData) -> dict[str, dict[str, float]]:
        """Return what the metrics of quantiles or distributions are for a forecaster that knows signal and noise.

        It says N(signal, noise^2). ``optimum`` is what it can expect, ``optimum_realised`` what it scores on the noise
        drawn in the windows of the reported split; of data whose noise is not known, neither.
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
        """Return three forecasts, the error of each step, and the calibration of quantiles."""
        from cellstate.model.forecasting import figures  # loads matplotlib

        return figures.section(material)

    def tables(self, material: Material) -> dict[str, Rows]:
        """Return the three windows of the figure, step by step."""
        from cellstate.model.forecasting import figures  # loads matplotlib

        return figures.tables(material)

    def predict_file(self, data: SequenceData, path: str) -> pl.DataFrame:
        """Return the ``horizon`` steps after each series: id, time (or step), targets, and their quantiles."""
        return prediction.predict_file(self, data, path)

    @predicting
    def predict(self, inputs: Any, known: Any = None) -> np.ndarray:
        """Forecast from arrays or tensors in the data's own units.

        Args:
            inputs: one history ``(T,)`` or ``(T, C)``, or several ``(B, T)`` or ``(B, T, C)``, of at least
                ``spec.window`` steps, of which the last ``spec.window`` count; ``(T,)`` and ``(B, T)`` where there is
                one target. Where there are covariates, their columns follow the targets, each at its own time: first
                those of ``spec.past``, then those of ``spec.known``, ``(T, C + P + K)`` or ``(B, T, C + P + K)``.
            known: the values of ``spec.known`` in the ``spec.horizon`` steps to forecast, ``(horizon, K)`` for one
                history, ``(B, horizon, K)`` for several; None where there are no such columns.

        Returns:
            ``(horizon, C)`` for one history, ``(B, horizon, C)`` for several; without the last dimension where a
            single target was handed in without it.
        """
        mean, std = torch.tensor(self.spec.mean).double(), torch.tensor(self.spec.std).double()
        point = self.kind.point(self._read(inputs, known)) * std + mean
        return as_given(point.numpy(), inputs, self.features)

    @predicting
    def predict_quantiles(self, inputs: Any, levels: Sequence[float] | None = None, known: Any = None) -> np.ndarray:
        """Forecast quantiles from arrays or tensors in the data's own units.

        Args:
            inputs: as ``predict`` takes them.
            levels: of the quantiles, between 0 and 1. The gaussian head gives any, the quantile head those that it
                was trained on; None takes those of ``model.quantiles``.
            known: as ``predict`` takes it.

        Returns:
            What ``predict`` returns, with one dimension more at its end, for the levels in the order given:
            ``(horizon, C, Q)`` for one history, ``(B, horizon, C, Q)`` for several; without C where a single target
            was handed in without it.

        Raises:
            RequestError: the head is the point head, or a level is none that it can give.
        """
        mean, std = (torch.tensor(part).double().unsqueeze(-1) for part in (self.spec.mean, self.spec.std))
        quantiles = self.kind.quantiles(self._read(inputs, known), levels) * std + mean
        return as_given(quantiles.numpy(), inputs, self.features)

    @property
    def features(self) -> int:
        """Columns that a history has: targets, and covariates where the data has them."""
        return len(self.spec.targets) + len(self.spec.past) + len(self.spec.known)

    def _read(self, inputs: Any, known: Any = None) -> Tensor:
        """Return the forecast, scaled, in double precision and on the CPU, of what was given to predict from."""
        return self(self.windows(inputs, known).float().to(self.device)).double().cpu()

    def windows(self, inputs: Any, known: Any = None) -> Tensor:
        """Return what ``forward`` takes, ``(B, window, C + F)``, scaled, in double precision and on the CPU.

        Args:
            inputs: as ``predict`` takes them.
            known: as ``predict`` takes it.

        Raises:
            RequestError: they do not fit.
        """
        return scaled_windows(self.spec, as_sequences(inputs, self.features).cpu(), known)
