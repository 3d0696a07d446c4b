"""A direct multi-step forecaster: the last output, which depends on the entire window, gives the entire horizon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from cellstate.config.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Probability
from cellstate.data.batch import Batch, DataSpec
from cellstate.data.datamodule import SequenceData
from cellstate.errors import RequestError
from cellstate.metrics.forecast import ForecastScores
from cellstate.metrics.headline import Headline
from cellstate.metrics.probabilistic import LEVELS
from cellstate.model.base import BackboneFactory, OptimizerFactory, SchedulerFactory, SequenceModel
from cellstate.model.forecasting import prediction
from cellstate.model.forecasting.arrays import Static, as_given, scaled_windows, with_static
from cellstate.model.forecasting.choices import (
    chosen_transform,
    default_dropout,
    default_rate_factor,
    default_segment,
    described,
)
from cellstate.model.forecasting.fitting import fit_closed_form
from cellstate.model.forecasting.heads import new_head
from cellstate.model.forecasting.inspector import ForecasterInspector
from cellstate.model.forecasting.linear import LinearMap
from cellstate.model.forecasting.noise import known_noise
from cellstate.model.forecasting.normalisation import Frame, Normalisation, frame_of
from cellstate.model.forecasting.seasons import SeasonalBase
from cellstate.model.forecasting.share import chosen
from cellstate.model.forecasting.static import StaticFeatures
from cellstate.model.forecasting.transform import Constants
from cellstate.model.forecasting.units import relative_error, scaled_error, seasonal_error
from cellstate.model.inputs import as_sequences, predicting

if TYPE_CHECKING:
    import polars as pl


Levels = Annotated[Sequence[float], Field(min_length=1)]
LossName = Literal["mae", "mse", "huber", "mase", "owa"]


class Forecaster(SequenceModel):
    """Forecasts ``spec.horizon`` steps of ``spec.targets`` from a window of ``spec.window``.

    Each window is normalised, divided into segments and processed by the backbone; the last output gives all steps of
    all targets, as a correction of ``base``. With ``linear``, a ridge regression is fitted in closed form before
    training, and every validation chooses the weight of its forecast against that of the network (see ``share.py``), so
    that the result is hardly ever worse than ridge regression. ``predict`` takes and returns unscaled values.

    Arguments that are None are chosen from statistics of the training split in ``spec``, and the run prints the choice.

    Args:
        spec: targets, window, horizon, and statistics of the training split.
        backbone: called with ``input_size``.
        normalisation: per window. ``last`` subtracts the last value, so that a trend can extrapolate beyond the range
            of the training split (like NLinear: Zeng et al., AAAI 2023); ``mean`` subtracts the mean of the window,
            which is less noisy than one value: for windows of full seasons; ``mean_std`` standardises each window
            (Kim et al., RevIN, ICLR 2022, without its affine part); ``none``. None: ``mean_std`` if the levels of
            several series differ, else ``last``.
        transform: ``log`` reads and forecasts logarithms, for positive values whose spread grows with their level;
            ``box_cox`` powers, with one exponent for all series from the training split (``data.box_cox``); ``none``.
            Transformed back, a mean becomes rather a median, which is not corrected. None: ``log`` if the training
            split is like that.
        channels: ``joint``: the network reads all targets together; ``separate``: one at a time, with shared weights
            (like PatchTST: Nie et al., ICLR 2023).
        base: the forecast that the network corrects: ``season``, a learned average of seasonal naive forecasts, one for
            each of ``spec.seasons`` (the last value if there is none), or ``none``, the centre of the normalisation.
            None: ``season`` if the levels of several series differ, else ``none``.
        linear: whether to combine the network with ridge regression; see ``LinearMap``.
        segment: time steps per recurrent step, through one linear embedding (Lin et al., SegRNN, 2023). None uses one
            season if the window contains at least four full ones, else the longest segment of which the window
            contains at least ten.
        embedding_size: width of that embedding; None feeds the values directly.
        static_embedding: width of the embedding of each category in ``spec.static``; None chooses it by their number.
        id_embedding: width of an embedding of the series itself; 0: none. A new series gets the mean of all.
        input_noise: standard deviation of white noise added to the targets in each normalised window during training,
            which regularises (Bishop, Neural Computation 1995) if there are few windows.
        dropout: before the head, during training. None: 0 if the levels of several series differ, 0.1 for ``separate``
            channels, each of which adds training data, else 0.5.
        head: ``point``; ``quantile``, the quantiles of given levels; ``gaussian``, mean and standard deviation. The
            point forecast, used for mae etc. and ``predict``, is then the median or the mean.
        quantiles: their levels: increasing, between 0 and 1, including 0.5. For the gaussian head: those scored.
        loss: ``mae``, ``mse`` or ``huber`` on scaled values; ``mase``, in units of the seasonal error of each window;
            ``owa``, the average of ``mase`` and the symmetric relative error, each relative to the seasonal naive
            forecast (see ``units.py``). None: ``owa`` if the levels of several positive series differ, ``mase`` if
            they are not positive, else ``mae``. The quantile head uses the pinball loss in place of the absolute
            error, the gaussian head always the negative log-likelihood.
        rate_factor: factor on the learning rate. None: by how much data shares the weights, and so by how steady a step
            is: 6 if the levels of several series differ (large batches), 2 for ``separate`` channels, else 1.
        optimizer: called with the parameters; None for a model that only predicts.
        scheduler: called with the optimiser and ``total_steps``.
    """

    needs = "horizon"
    figures = "cellstate.model.forecasting.figures"
    headline = Headline(
        "mae",
        "mean absolute error, in the units of the data",
        loss_unit="on values standardised with the training split",
    )
    inspector_class = ForecasterInspector
    averaged = "parts"
    chosen_buffers = frozenset({"share", "width"})
    share: Tensor
    width: Tensor
    naive: Tensor

    def __init__(
        self,
        spec: DataSpec,
        backbone: BackboneFactory,
        *,
        normalisation: Normalisation | None = "last",
        transform: Literal["none", "log", "box_cox"] | None = "none",
        channels: Literal["joint", "separate"] = "joint",
        base: Literal["none", "season"] | None = "none",
        linear: bool = False,
        segment: PositiveInt | None = None,
        embedding_size: PositiveInt | None = None,
        static_embedding: PositiveInt | None = None,
        id_embedding: NonNegativeInt = 0,
        input_noise: NonNegativeFloat = 0.0,
        dropout: Probability | None = 0.0,
        head: Literal["point", "quantile", "gaussian"] = "point",
        quantiles: Levels = LEVELS,
        loss: LossName | None = "mae",
        rate_factor: PositiveFloat | None = 1.0,
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
        self._scaler = Constants(spec.mean, spec.std)
        self.transform = chosen_transform(spec, transform, head)
        self.loss_name: LossName = loss or (("owa" if spec.log_std else "mase") if several else "mae")
        self.together = 1 if channels == "separate" else len(spec.targets)  # targets per pass of the network
        # A standardised window does not show its variation relative to its level; the ratio to its mean does.
        self.ratios = self.normalisation == "mean_std" and bool(spec.log_std) and self.transform is None
        width = self.segment * (self.together * (1 + self.ratios) + len(spec.past) + len(spec.known))
        self.identifies = id_embedding > 0
        self.static = StaticFeatures(spec, static_embedding, id_embedding)
        width += self.static.output_size
        self.embedding = nn.Linear(width, embedding_size) if embedding_size else nn.Identity()
        self.backbone = backbone(input_size=embedding_size or width)
        if self.backbone.bidirectional:
            raise RequestError(
                "backbone.bidirectional=true: a forecast uses the last step, where the backward direction has seen "
                "only that step; set it to false"
            )
        self.rate_factor = rate_factor or default_rate_factor(spec, channels)
        self.dropout = nn.Dropout(default_dropout(spec, channels) if dropout is None else dropout)
        self.input_noise = input_noise
        self.kind = new_head(head, loss=self.loss_name, levels=quantiles)
        self.head = nn.Linear(self.backbone.output_size, spec.horizon * self.together * self.kind.size)
        base = base or ("season" if several else "none")
        seasons = spec.seasons or (spec.season,)
        self.base = SeasonalBase(seasons, spec.window, spec.horizon) if base == "season" else None
        place = spec.season if len(spec.targets) == 1 and not several else 1
        self.linear = LinearMap(spec.window, spec.horizon, place) if linear else None
        self.register_buffer("share", torch.zeros(()))  # weight of the linear forecast
        self.register_buffer("width", torch.ones(()))  # factor of the distances between quantiles
        self.register_buffer("naive", torch.ones(2))  # relative and scaled error of the seasonal naive forecast
        self._kept: list[tuple[Tensor, Tensor, Batch]] = []  # outputs of the current validation

    # ------------------------------------------------------------------ the forecast

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Forecast from windows ``(B, window, C + F + S)``; all values are scaled with ``spec``.

        The C targets are followed by F covariates, which are not normalised per window (see ``WindowedData``), and S
        static features (see ``data.static``). Steps before the start of a series are NaN. In training mode the forecast
        is that of the network alone.

        Returns:
            ``(B, horizon, C)``; for the quantile head ``(B, horizon, C, Q)``, one per level; for the gaussian head
            ``(B, horizon, C, 2)``, mean and standard deviation.
        """
        forecast, line = self.parts(inputs)
        return forecast if line is None else self.combined(forecast, line, self.share, self.width)

    def parts(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the forecast of the network, shaped as by ``forward``, and the linear one ``(B, horizon, C)``."""
        window, covariates, frame = self.normalised(inputs)
        forecast = self.from_normalised(window, covariates, frame)
        if self.training or self.linear is None or not self.linear.fitted:
            return forecast, None
        rows = self.linear(window.transpose(1, 2).flatten(0, 1)).view(len(window), -1, self.spec.horizon)
        return forecast, self.restored(frame.restored(rows.transpose(1, 2)))

    @override
    def average(self, results: list[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
        forecasts, lines = zip(*results, strict=True)
        return self.kind.average(torch.stack(forecasts)), None if lines[0] is None else torch.stack(lines).mean(0)

    def combined(self, forecast: Tensor, line: Tensor, share: Tensor | float, width: Tensor | float = 1.0) -> Tensor:
        """Return the weighted average of both forecasts; a distribution is moved there, its ``width`` multiplied."""
        return self.kind.moved(self.kind.widened(forecast, width), share * (line - self.kind.point(forecast)))

    def normalised(self, inputs: Tensor) -> tuple[Tensor, Tensor, Frame]:
        """Return normalised windows ``(B, W, C)``, other inputs ``(B, W, F + S)``, and the windows' normalisation."""
        columns, observed = len(self.spec.targets), None
        if self.spec.padded:
            observed = inputs[..., :columns].isfinite()
            inputs = inputs.nan_to_num(0.0)
        values = self.transformed(inputs[..., :columns])
        frame = frame_of(values, self.normalisation, observed)
        window = frame.normalised(values)
        window = window if observed is None else window.where(observed, 0.0)
        return window, inputs[..., columns:], frame

    def from_normalised(self, window: Tensor, covariates: Tensor, frame: Frame) -> Tensor:
        """Return the forecast of the network for the results of ``normalised``."""
        numbers = self._numbers(window, covariates, frame)
        if self.base is not None:
            numbers = self.kind.shifted(numbers, self.base(window, frame.observed))
        return self.kind.mapped(self.kind.placed(numbers, frame.centre, frame.spread), self.restored)

    def _numbers(self, window: Tensor, covariates: Tensor, frame: Frame) -> Tensor:
        """Return the output of the linear head, ``(B, horizon, C, size)``."""
        read = window
        if self.training and self.input_noise:
            read = read + self.input_noise * torch.randn_like(read)
        features = [read]
        if self.ratios:
            features.append(frame.log_ratio(window, *self.scaler(window)))
        batch, steps, columns = window.shape
        if self.together < columns:
            features = [part.transpose(1, 2).reshape(batch * columns, steps, 1) for part in features]
            covariates = covariates.repeat_interleave(columns, 0)
        varying = len(self.spec.past) + len(self.spec.known)
        if varying:
            features.append(covariates[..., :varying])
        joined = torch.cat(features, dim=-1) if len(features) > 1 else features[0]
        segments = joined.reshape(len(joined), -1, self.segment * joined.shape[-1])
        if self.static.output_size:
            static = self.static(covariates[:, -1, varying:])
            segments = torch.cat((segments, static.unsqueeze(1).expand(-1, segments.shape[1], -1)), dim=-1)
        outputs, _ = self.backbone(self.embedding(segments))
        shape = (batch, columns // self.together, self.spec.horizon, self.together, self.kind.size)
        return self.head(self.dropout(outputs[:, -1])).view(shape).transpose(1, 2).flatten(2, 3)

    def scaler(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the scaler, ``(C,)``."""
        mean, std = self._scaler.like(like)
        return mean, std

    def transformed(self, values: Tensor) -> Tensor:
        """Return scaled values under ``transform``; without one the values themselves."""
        return values if self.transform is None else self.transform.forward(values)

    def restored(self, values: Tensor) -> Tensor:
        """Invert ``transformed``."""
        return values if self.transform is None else self.transform.inverse(values)

    # ------------------------------------------------------------------ training

    @override
    def fit_closed_form(self, data: SequenceData) -> None:
        fit_closed_form(self, data)

    def relative_errors(self, point: Tensor, truth: Tensor) -> Tensor:
        """Return the symmetric relative errors of scaled forecasts, ``(B, horizon, C)``."""
        mean, std = self.scaler(truth)
        return relative_error(point * std + mean, truth * std + mean)

    def seasonal_errors(self, error: Tensor, history: Tensor) -> Tensor:
        """Return ``error (B, horizon, C)`` in units of the seasonal error of each window ``(B, W, C)``."""
        observed = history.isfinite() if self.spec.padded else None
        known = history if observed is None else history.nan_to_num(0.0)
        return scaled_error(error, seasonal_error(known, self.spec.season, observed))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the loss on scaled values, or in units of each window."""
        if self.loss_name in ("mase", "owa") and self.kind.in_units:
            return self._losses(output, batch).mean()
        return self.kind.loss(output, batch.targets)

    def _losses(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the ``mase`` or ``owa`` loss of each sample, ``(B,)``."""
        history = batch.inputs[..., : batch.targets.shape[-1]]
        scaled = self.seasonal_errors(self.kind.errors(output, batch.targets), history).mean((1, 2))
        if self.loss_name == "mase":
            return scaled
        relative = self.relative_errors(self.kind.point(output), batch.targets).mean((1, 2))
        return (relative / self.naive[0] + scaled / self.naive[1]) / 2

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch; during training keep it, as the weight of the linear forecast is chosen at the end."""
        if not self.may_choose or self.linear is None or not self.linear.fitted:
            return super().validation_step(batch, batch_idx)
        forecast, line = self.parts(batch.inputs)
        assert line is not None
        self._kept.append((forecast, line, batch))
        return None

    @override
    def on_validation_epoch_end(self) -> None:
        """Choose the weight of the linear forecast, then compute the scores of the split."""
        if self._kept:
            memorising = getattr(self.trainer.datamodule, "repeats_batch", False)  # type: ignore[attr-defined]
            share, width = chosen(self, self._kept, tested=not memorising)
            self.share.fill_(share)
            self.width.fill_(width)
            for forecast, line, batch in self._kept:
                self.update_scores(self._scores, self.combined(forecast, line, self.share, self.width), batch)
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
        """Return the quantile or distribution metrics of a forecaster that knows signal and noise."""
        return known_noise(self, data)

    def predict_file(self, data: SequenceData, path: str) -> pl.DataFrame:
        """Return the forecast after each series: id, time (or step), targets, and their quantiles."""
        return prediction.predict_file(self, data, path)

    @predicting
    def predict(self, inputs: Any, known: Any = None, static: Static = None) -> np.ndarray:
        """Forecast from unscaled arrays or tensors.

        Args:
            inputs: one history ``(T,)`` or ``(T, C)``, or several ``(B, T)`` or ``(B, T, C)``, of at least
                ``spec.window`` steps, of which the last ``spec.window`` are used; ``(T,)`` and ``(B, T)`` for a single
                target. Covariates follow the targets, at their actual time: first those of ``spec.past``, then those
                of ``spec.known``, ``(T, C + P + K)`` or ``(B, T, C + P + K)``.
            known: the values of ``spec.known`` in the ``spec.horizon`` steps to forecast, ``(horizon, K)`` for one
                history, ``(B, horizon, K)`` for several; None if there are no such columns.
            static: the features of ``spec.static`` by name, and with ``model.id_embedding`` the ``id`` of the series,
                in one mapping or one for each history. A series without an id, or with a new one, gets the mean
                embedding.

        Returns:
            ``(horizon, C)`` for one history, ``(B, horizon, C)`` for several; without the last dimension if
            the input of a single target lacks it.
        """
        mean, std = torch.tensor(self.spec.mean).double(), torch.tensor(self.spec.std).double()
        point = self.kind.point(self._read(inputs, known, static)) * std + mean
        return as_given(point.numpy(), inputs, self.features)

    @predicting
    def predict_quantiles(
        self, inputs: Any, levels: Sequence[float] | None = None, known: Any = None, static: Static = None
    ) -> np.ndarray:
        """Forecast quantiles from unscaled arrays or tensors.

        Args:
            inputs: as in ``predict``.
            levels: of the quantiles, between 0 and 1. The gaussian head gives any, the quantile head those that it
                was trained on; None uses those of ``model.quantiles``.
            known: as in ``predict``.
            static: as in ``predict``.

        Returns:
            as ``predict``, with an additional last dimension for the levels: ``(horizon, C, Q)`` for one history,
            ``(B, horizon, C, Q)`` for several; without C if the input of a single target lacks it.

        Raises:
            RequestError: the head is the point head, or a level is not available.
        """
        mean, std = (torch.tensor(part).double().unsqueeze(-1) for part in (self.spec.mean, self.spec.std))
        quantiles = self.kind.quantiles(self._read(inputs, known, static), levels) * std + mean
        return as_given(quantiles.numpy(), inputs, self.features)

    @property
    def features(self) -> int:
        """The number of columns of a history: targets and covariates."""
        return len(self.spec.targets) + len(self.spec.past) + len(self.spec.known)

    def _read(self, inputs: Any, known: Any, static: Static) -> Tensor:
        """Return the scaled forecast for the arguments of ``predict``, in double precision on the CPU."""
        return self(self.windows(inputs, known, static).float().to(self.device)).double().cpu()

    def windows(self, inputs: Any, known: Any = None, static: Static = None) -> Tensor:
        """Return the input of ``forward``, ``(B, window, C + F + S)``, scaled, in double precision on the CPU.

        Args:
            inputs: as in ``predict``.
            known: as in ``predict``.
            static: as in ``predict``.

        Raises:
            RequestError: their shapes do not match.
        """
        rows = as_sequences(inputs, self.features, padded=self.spec.padded)
        return with_static(scaled_windows(self.spec, rows.cpu(), known), self.spec, static)
