"""Scores of predicted values, in the units of the data and standardised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from cellstate.metrics.forecast import ForecastScores, forecast_scores

if TYPE_CHECKING:
    from cellstate.data.batch import DataSpec

METRICS = ("mae", "rmse", "mse", "mae_scaled", "mse_scaled")


class RegressionScores(ForecastScores):
    """Keeps predictions and truth ``(B, K)``, as ``ForecastScores`` keeps forecasts."""

    def __init__(self, spec: DataSpec, loss: str = "mse") -> None:
        super().__init__(spec, loss)

    @override
    def compute(self) -> dict[str, float]:
        scores = super().compute()
        return {name: scores[name] for name in ("loss", *METRICS)}


def regression_scores(predictions: np.ndarray, truth: np.ndarray, *, spec: DataSpec) -> dict[str, float]:
    """Score predictions ``(N, K)`` against ``truth (N, K)``, both unscaled.

    mae, mse and rmse in the units of the data, mae_scaled and mse_scaled after dividing each target by its standard
    deviation on the training split: means over samples and targets, as in ``forecast_scores``, without those for series
    (mase) and positive quantities (smape).
    """
    scores = forecast_scores(predictions, truth, spec=spec)
    return {name: scores[name] for name in METRICS}
