"""Scores of probabilistic forecasts: quantiles, or a normal distribution.

With q the forecast quantile of level t, y the observation, and means over samples, steps and columns:

- pinball = mean over the levels of t max(y - q, 0) + (1 - t) max(q - y, 0), in the units of the data
  (Koenker & Bassett 1978): minimal in expectation for the true quantile;
- crps = 2 int_0^1 pinball(t) dt, in the units of the data (Gneiting & Raftery 2007): the mae for a point
  forecast. In closed form for a normal distribution. For quantiles, by the trapezoidal rule over the levels, with the
  value 0 at the levels 0 and 1, as a mean over unevenly spaced levels would overweight densely spaced tails;
- nll = mean -ln p(y), nats per value, if the forecast has a density p; it depends on the unit of y;
- coverage_P = share of y within the central interval of P per cent: P / 100 for a calibrated forecast;
- interval_width_P = mean width of that interval, in the units of the data: narrower is better for calibrated
  forecasts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from cellstate.metrics.forecast import ForecastScores, forecast_scores

if TYPE_CHECKING:
    from cellstate.data.batch import DataSpec

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
INTERVALS = (80, 90)  # per cent, central intervals that are scored


class ProbabilisticScores(ForecastScores):
    """Base class for quantiles and distributions: keeps the outputs of the head, ``(B, horizon, C, P)``."""

    def __init__(self, spec: DataSpec, levels: Sequence[float] = LEVELS) -> None:
        super().__init__(spec)
        self.levels = tuple(levels)

    def parameters(self) -> np.ndarray:
        """Return the outputs of the head so far, ``(N, horizon, C, P)``, standardised."""
        return torch.cat(self.forecasts).double().cpu().numpy()

    def quantiles(self, levels: Sequence[float] | None = None) -> np.ndarray:
        """Return quantiles ``(N, horizon, C, Q)`` of the given levels (None: all), unscaled."""
        raise NotImplementedError


class QuantileScores(ProbabilisticScores):
    """Keeps quantiles ``(B, horizon, C, Q)``; the point forecast is the median."""

    @override
    def quantiles(self, levels: Sequence[float] | None = None) -> np.ndarray:
        mean, std = (np.asarray(part)[:, None] for part in (self.spec.mean, self.spec.std))
        chosen = [level_index(self.levels, level) for level in (self.levels if levels is None else levels)]
        return np.stack([self.parameters()[..., place] for place in chosen if place is not None], axis=-1) * std + mean

    @override
    def joined(self) -> tuple[np.ndarray, np.ndarray]:
        return self.quantiles((0.5,))[..., 0], self.joined_truth()

    @override
    def compute(self) -> dict[str, float]:
        """Return the loss (pinball on scaled values), ``forecast_scores`` of the median, and the module's scores."""
        forecasts, truth = self.joined()
        quantiles = self.quantiles()
        loss = self.given_loss()
        if loss is None:
            loss = float((pinball(quantiles, truth, self.levels) / np.asarray(self.spec.std)[:, None]).mean())
        return {
            "loss": loss,
            **forecast_scores(forecasts, truth, spec=self.spec),
            **quantile_scores(quantiles, truth, self.levels),
        }


class GaussianScores(ProbabilisticScores):
    """Keeps means and standard deviations, ``(B, horizon, C, 2)``; the point forecast is the mean."""

    def joined_std(self) -> np.ndarray:
        """Return the standard deviations so far, ``(N, horizon, C)``, unscaled."""
        return self.parameters()[..., 1] * np.asarray(self.spec.std)

    @override
    def quantiles(self, levels: Sequence[float] | None = None) -> np.ndarray:
        return gaussian_quantiles(self.joined()[0], self.joined_std(), self.levels if levels is None else levels)

    @override
    def joined(self) -> tuple[np.ndarray, np.ndarray]:
        mean = self.parameters()[..., 0] * np.asarray(self.spec.std) + np.asarray(self.spec.mean)
        return mean, self.joined_truth()

    @override
    def compute(self) -> dict[str, float]:
        """Return the loss (nll of scaled values), ``forecast_scores`` of the mean, and the module's scores."""
        mean, truth = self.joined()
        std, unit = self.joined_std(), np.asarray(self.spec.std)
        return {
            "loss": float(gaussian_nll(mean / unit, std / unit, truth / unit).mean()),
            **forecast_scores(mean, truth, spec=self.spec),
            **gaussian_scores(mean, std, truth, self.levels),
        }


def quantile_scores(quantiles: np.ndarray, truth: np.ndarray, levels: Sequence[float]) -> dict[str, float]:
    """Return the module's scores of ``quantiles (…, Q)`` of ``levels (Q,)`` against ``truth (…)``."""
    losses = pinball(quantiles, truth, levels).reshape(-1, len(levels)).mean(axis=0)
    return {
        "crps": 2 * float(losses @ np.asarray(trapezoid_weights(levels))),
        "pinball": float(losses.mean()),
        **interval_scores(quantiles, truth, levels),
    }


def gaussian_scores(mean: np.ndarray, std: np.ndarray, truth: np.ndarray, levels: Sequence[float]) -> dict[str, float]:
    """Return the module's scores of N(mean, std^2) against ``truth``, all ``(…)``; pinball over ``levels``."""
    return {
        **quantile_scores(gaussian_quantiles(mean, std, levels), truth, levels),
        "crps": float(gaussian_crps(mean, std, truth).mean()),
        "nll": float(gaussian_nll(mean, std, truth).mean()),
    }


def pinball(quantiles: np.ndarray, truth: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Return the pinball loss of ``quantiles (…, Q)`` of ``levels (Q,)`` against ``truth (…)``, as ``(…, Q)``."""
    over = truth[..., None] - quantiles
    level = np.asarray(levels)
    return np.maximum(level * over, (level - 1) * over)


def pinball_loss(quantiles: Tensor, truth: Tensor, levels: Tensor) -> Tensor:
    """Return the mean of ``pinball`` as a training loss."""
    over = truth.unsqueeze(-1) - quantiles
    return torch.maximum(levels * over, (levels - 1) * over).mean()


def gaussian_loss(mean: Tensor, std: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of ``gaussian_nll`` as a training loss."""
    return (((truth - mean) / std) ** 2 / 2 + std.log()).mean() + math.log(2 * math.pi) / 2


def gaussian_nll(mean: np.ndarray, std: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return -ln p(y) = z^2 / 2 + ln std + ln(2 pi) / 2 with z = (y - mean) / std, nats."""
    return ((truth - mean) / std) ** 2 / 2 + np.log(std) + math.log(2 * math.pi) / 2


def gaussian_crps(mean: np.ndarray, std: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the crps of N(mean, std^2), in closed form (Gneiting et al. 2005, equation 5):

        std (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)),   z = (y - mean) / std.

    With 2 Phi(z) - 1 = erf(z / sqrt 2).
    """
    z = (truth - mean) / std
    erf = torch.erf(torch.from_numpy(np.ascontiguousarray(z)) / math.sqrt(2)).numpy()
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return std * (z * erf + 2 * density - 1 / math.sqrt(math.pi))


def gaussian_quantiles(mean: np.ndarray, std: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Return mean + std Phi^-1(level), ``(…, Q)``, for means and standard deviations ``(…)``."""
    z = np.asarray([NormalDist().inv_cdf(level) for level in levels])
    return mean[..., None] + std[..., None] * z


def interval_scores(quantiles: np.ndarray, truth: np.ndarray, levels: Sequence[float]) -> dict[str, float]:
    """Return coverage and mean width of the central INTERVALS whose ends are both in ``levels``."""
    scores = {}
    for per_cent, (low, high) in central_intervals(levels, INTERVALS).items():
        below, above = quantiles[..., low], quantiles[..., high]
        scores[f"coverage_{per_cent}"] = float(((below <= truth) & (truth <= above)).mean())
        scores[f"interval_width_{per_cent}"] = float((above - below).mean())
    return scores


def central_intervals(levels: Sequence[float], per_cents: Sequence[int]) -> Mapping[int, tuple[int, int]]:
    """Return per cent -> indices of the lower and upper end in ``levels``, if both exist."""
    found = {}
    for per_cent in per_cents:
        low, high = (level_index(levels, level) for level in ((100 - per_cent) / 200, (100 + per_cent) / 200))
        if low is not None and high is not None:
            found[per_cent] = (low, high)
    return found


def level_index(levels: Sequence[float], level: float) -> int | None:
    """Return the index of ``level`` in ``levels`` up to rounding, or None."""
    return next((place for place, there in enumerate(levels) if abs(there - level) < 1e-9), None)


def trapezoid_weights(levels: Sequence[float]) -> list[float]:
    """Return the weights of the trapezoidal rule for int_0^1 f with f(0) = f(1) = 0, f given at ``levels``."""
    nodes = (0.0, *levels, 1.0)
    return [(after - before) / 2 for before, after in zip(nodes, nodes[2:], strict=False)]


def quantile_metrics(levels: Sequence[float]) -> list[str]:
    """Return the names of the ``quantile_scores``."""
    intervals = central_intervals(levels, INTERVALS)
    return ["crps", "pinball", *(f"{score}_{part}" for part in intervals for score in ("coverage", "interval_width"))]


def gaussian_floor(noise: float, levels: Sequence[float] = LEVELS) -> dict[str, float]:
    """Return the expected scores of the forecast N(signal, noise^2) that knows the signal, under that noise.

    crps, pinball and nll are proper scores: no forecast has a lower expectation. With z = Phi^-1(t) and s the noise:

    - pinball(t) = E max(t (y - q), (t - 1)(y - q)) = s phi(z), from E max(y - q, 0) = s (phi(z) - z (1 - t));
    - crps = 2 int_0^1 s phi(Phi^-1(t)) dt = 2 s int phi(x)^2 dx = s / sqrt(pi);
    - nll = ln(s sqrt(2 pi e)), the entropy;
    - coverage_P = P / 100, interval_width_P = 2 s Phi^-1((1 + P / 100) / 2).

    Empty without noise, as the density is unbounded.
    """
    if not noise > 0:
        return {}
    normal = NormalDist()
    floor = {
        "crps": noise / math.sqrt(math.pi),
        "nll": math.log(noise * math.sqrt(2 * math.pi * math.e)),
        "pinball": noise * sum(normal.pdf(normal.inv_cdf(level)) for level in levels) / len(levels),
    }
    for per_cent in central_intervals(levels, INTERVALS):
        floor[f"coverage_{per_cent}"] = per_cent / 100
        floor[f"interval_width_{per_cent}"] = 2 * noise * normal.inv_cdf((1 + per_cent / 100) / 2)
    return floor
