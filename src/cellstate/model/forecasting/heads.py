"""Heads of a forecaster: point forecasts, quantiles, or a normal distribution.

A head has no weights: it defines how many numbers describe a value, and their meaning. They come from the network in
units of the normalised window; ``placed`` converts them to the z-score of the training split: a location by centre
and spread, a scale by the spread.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from statistics import NormalDist

import torch
from torch import Tensor, nn
from typing_extensions import override

from cellstate.data.batch import DataSpec
from cellstate.errors import RequestError
from cellstate.metrics.forecast import ForecastScores
from cellstate.metrics.probabilistic import (
    GaussianScores,
    QuantileScores,
    gaussian_loss,
    level_index,
    pinball_loss,
    quantile_metrics,
)
from cellstate.model.inspector import PredictionKind
from cellstate.model.losses import LOSSES

# In standard deviations of the training split. Bounds the likelihood, and its gradient, for deterministic series.
MINIMUM_STD = 1e-3


class Head(ABC):
    """The meaning of ``size`` numbers per forecast value."""

    size: int
    levels: Sequence[float] = ()  # of the quantiles that are scored
    metrics: Sequence[str] = ()  # in addition to those of a point forecast
    prediction_kind: PredictionKind = "values"  # how two forecasts are compared

    @abstractmethod
    def placed(self, numbers: Tensor, centre: Tensor | None, spread: Tensor | None) -> Tensor:
        """Return the forecast from ``numbers (B, horizon, C, size)`` for windows normalised with ``centre`` and
        ``spread``, ``(B, 1, C)`` each or None.
        """

    @abstractmethod
    def loss(self, forecast: Tensor, truth: Tensor) -> Tensor:
        """Return the mean loss of a forecast against ``truth (B, horizon, C)``, both scaled."""

    in_units: bool = True
    """Whether ``errors`` may be measured in units of each window."""

    @abstractmethod
    def errors(self, forecast: Tensor, truth: Tensor) -> Tensor:
        """Return the error of each value ``(B, horizon, C)`` against ``truth (B, horizon, C)``."""

    def average(self, forecasts: Tensor) -> Tensor:
        """Return one forecast for those of several networks ``(K, ...)``."""
        return forecasts.mean(0)

    def shifted(self, numbers: Tensor, by: Tensor) -> Tensor:
        """Return what ``placed`` takes, with locations moved ``by (B, horizon, C)``."""
        return numbers + by.unsqueeze(-1)

    def moved(self, forecast: Tensor, by: Tensor) -> Tensor:
        """Return a forecast whose location is moved ``by (B, horizon, C)``."""
        return forecast + by.unsqueeze(-1)

    def widened(self, forecast: Tensor, by: Tensor | float) -> Tensor:
        """Return a forecast whose distances from the point forecast are multiplied."""
        point = self.point(forecast).unsqueeze(-1)
        return point + by * (forecast - point)

    def mapped(self, forecast: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a forecast with an increasing function of values ``(..., C)`` applied."""
        return function(forecast.transpose(-1, -2)).transpose(-1, -2)

    @abstractmethod
    def new_scores(self, spec: DataSpec) -> ForecastScores:
        """Return empty scores."""

    @abstractmethod
    def point(self, forecast: Tensor) -> Tensor:
        """Return the point forecast ``(B, horizon, C)``."""

    def quantiles(self, forecast: Tensor, levels: Sequence[float] | None) -> Tensor:
        """Return the quantiles ``(B, horizon, C, Q)`` of given levels; None uses the head's levels."""
        del forecast, levels
        raise RequestError(
            "the point head does not forecast quantiles; train with model.head=quantile or model.head=gaussian"
        )


class PointHead(Head):
    """The value itself: ``(B, horizon, C)``."""

    size = 1

    def __init__(self, loss: str) -> None:
        self.loss_name = loss

    @override
    def placed(self, numbers: Tensor, centre: Tensor | None, spread: Tensor | None) -> Tensor:
        return denormalised(numbers.squeeze(-1), centre, spread)

    @override
    def loss(self, forecast: Tensor, truth: Tensor) -> Tensor:
        return LOSSES[self.loss_name](forecast, truth)

    @override
    def errors(self, forecast: Tensor, truth: Tensor) -> Tensor:
        return (forecast - truth).abs()

    @override
    def moved(self, forecast: Tensor, by: Tensor) -> Tensor:
        return forecast + by

    @override
    def widened(self, forecast: Tensor, by: Tensor | float) -> Tensor:
        return forecast

    @override
    def mapped(self, forecast: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(forecast)

    @override
    def new_scores(self, spec: DataSpec) -> ForecastScores:
        return ForecastScores(spec, self.loss_name)

    @override
    def point(self, forecast: Tensor) -> Tensor:
        return forecast


class QuantileHead(Head):
    """Quantiles of fixed levels, ``(B, horizon, C, Q)``, trained with the pinball loss (Wen et al., MQ-RNN, 2017).

    They are sorted and so never cross: where estimated quantiles cross, the sorted ones are closer to the true ones
    (Chernozhukov, Fernandez-Val & Galichon 2010), and their pinball loss is not larger. A cumulative softplus would
    also prevent crossing, but its quantiles are initially far apart, and an error of the median shifts all others.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels, self.size = checked_levels(levels), len(levels)
        self.metrics, self._levels = quantile_metrics(self.levels), torch.tensor(self.levels)

    @override
    def placed(self, numbers: Tensor, centre: Tensor | None, spread: Tensor | None) -> Tensor:
        return denormalised(numbers.sort(-1).values, wider(centre), wider(spread))

    @override
    def loss(self, forecast: Tensor, truth: Tensor) -> Tensor:
        if self._levels.device != forecast.device:
            self._levels = self._levels.to(forecast.device)
        return pinball_loss(forecast, truth, self._levels)

    @override
    def errors(self, forecast: Tensor, truth: Tensor) -> Tensor:
        over, levels = truth.unsqueeze(-1) - forecast, forecast.new_tensor(self.levels)
        return 2 * torch.maximum(levels * over, (levels - 1) * over).mean(-1)  # of the median alone: |error|

    @override
    def new_scores(self, spec: DataSpec) -> ForecastScores:
        return QuantileScores(spec, self.levels)

    @override
    def point(self, forecast: Tensor) -> Tensor:
        return forecast[..., level_index(self.levels, 0.5)]

    @override
    def quantiles(self, forecast: Tensor, levels: Sequence[float] | None) -> Tensor:
        places = [level_index(self.levels, level) for level in self.levels if levels is None]
        for level in levels or ():
            place = level_index(self.levels, level)
            if place is None:
                raise RequestError(
                    f"levels: {level:g} is not one of those that this model was trained on, "
                    f"{', '.join(f'{one:g}' for one in self.levels)}; choose one of them, or train with others in "
                    "model.quantiles, or with model.head=gaussian, which supports any"
                )
            places.append(place)
        return forecast[..., places]


class GaussianHead(Head):
    """Mean and standard deviation, ``(B, horizon, C, 2)``, trained with the negative log-likelihood.

    The standard deviation is softplus(x) (Salinas et al., DeepAR, 2020), and at least MINIMUM_STD.

    Args:
        levels: of the quantiles that are scored, and returned by default.
    """

    size = 2
    prediction_kind = "normal"
    in_units = False  # the likelihood weighs each window by the deviation that it is given

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = checked_levels(levels)
        self.metrics = [*quantile_metrics(self.levels), "nll"]

    @override
    def placed(self, numbers: Tensor, centre: Tensor | None, spread: Tensor | None) -> Tensor:
        mean = denormalised(numbers[..., 0], centre, spread)
        std = denormalised(nn.functional.softplus(numbers[..., 1]), None, spread) + MINIMUM_STD
        return torch.stack((mean, std), dim=-1)

    @override
    def loss(self, forecast: Tensor, truth: Tensor) -> Tensor:
        return gaussian_loss(forecast[..., 0], forecast[..., 1], truth)

    @override
    def errors(self, forecast: Tensor, truth: Tensor) -> Tensor:
        return (forecast[..., 0] - truth).abs()

    @override
    def average(self, forecasts: Tensor) -> Tensor:
        """Return mean and deviation of the mixture: its variance is E[std^2 + mean^2] - E[mean]^2."""
        means, stds = forecasts.unbind(-1)
        variance = (stds.square() + means.square()).mean(0) - means.mean(0).square()
        return torch.stack((means.mean(0), variance.clamp(min=MINIMUM_STD**2).sqrt()), dim=-1)

    @override
    def shifted(self, numbers: Tensor, by: Tensor) -> Tensor:
        return torch.stack((numbers[..., 0] + by, numbers[..., 1]), dim=-1)

    @override
    def widened(self, forecast: Tensor, by: Tensor | float) -> Tensor:
        return torch.stack((forecast[..., 0], by * forecast[..., 1]), dim=-1)

    @override
    def moved(self, forecast: Tensor, by: Tensor) -> Tensor:
        return self.shifted(forecast, by)

    @override
    def new_scores(self, spec: DataSpec) -> ForecastScores:
        return GaussianScores(spec, self.levels)

    @override
    def point(self, forecast: Tensor) -> Tensor:
        return forecast[..., 0]

    @override
    def quantiles(self, forecast: Tensor, levels: Sequence[float] | None) -> Tensor:
        chosen = self.levels if levels is None else levels
        if any(not 0 < level < 1 for level in chosen):
            raise RequestError(f"levels={list(chosen)}: give numbers between 0 and 1")
        z = forecast.new_tensor([NormalDist().inv_cdf(level) for level in chosen])
        return forecast[..., :1] + forecast[..., 1:] * z


def new_head(kind: str, *, loss: str, levels: Sequence[float]) -> Head:
    """Return the head called ``point``, ``quantile`` or ``gaussian``."""
    if kind == "point":
        return PointHead(loss)
    return QuantileHead(levels) if kind == "quantile" else GaussianHead(levels)


def checked_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Return valid levels of quantiles.

    Raises:
        RequestError: they do not increase, are outside (0, 1), or lack 0.5, the median, which is the point forecast.
    """
    given = tuple(float(level) for level in levels)
    increase = all(after > before for before, after in itertools.pairwise(given))
    if not increase or any(not 0 < level < 1 for level in given) or level_index(given, 0.5) is None:
        raise RequestError(
            f"model.quantiles=[{','.join(f'{level:g}' for level in given)}]: give increasing levels between 0 and 1 "
            "including 0.5, the median, such as [0.1,0.5,0.9]"
        )
    return given


def denormalised(values: Tensor, centre: Tensor | None, spread: Tensor | None) -> Tensor:
    """Return ``values * spread + centre``, skipping None."""
    values = values if spread is None else values * spread
    return values if centre is None else values + centre


def wider(tensor: Tensor | None) -> Tensor | None:
    """Return a tensor with an additional last dimension."""
    return None if tensor is None else tensor.unsqueeze(-1)
