"""Scores of a forecast, in the units of the data and standardised."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from cellstate.data.batch import DataSpec


# The training losses of a forecaster, as functions of the standardised absolute error.
LOSSES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mae": lambda error: error,
    "mse": lambda error: error**2,
    "huber": lambda error: np.where(error < 1, error**2 / 2, error - 0.5),
}


class ForecastScores:
    """Keeps the forecasts of a split; scores are computed at the end.

    Forecasts and truth are ``(B, horizon, C)``, standardised with the training split.
    """

    def __init__(self, spec: DataSpec, loss: str = "mae") -> None:
        self.spec, self.loss = spec, loss
        self.forecasts: list[Tensor] = []
        self.truth: list[Tensor] = []
        self.losses: list[Tensor] = []  # (B,) of each sample, where the loss is not one of errors alone

    def update(self, forecasts: Tensor, truth: Tensor) -> None:
        """Add forecasts and truth, ``(B, horizon, C)`` each."""
        self.forecasts.append(forecasts.detach())
        self.truth.append(truth)

    def joined(self) -> tuple[np.ndarray, np.ndarray]:
        """Return forecasts and truth so far, ``(N, horizon, C)`` each, unscaled."""
        mean, std = np.asarray(self.spec.mean), np.asarray(self.spec.std)
        return torch.cat(self.forecasts).double().cpu().numpy() * std + mean, self.joined_truth()

    def joined_truth(self) -> np.ndarray:
        """Return the truth so far, ``(N, horizon, C)``, unscaled."""
        truth = torch.cat(self.truth).double().cpu().numpy()
        return truth * np.asarray(self.spec.std) + np.asarray(self.spec.mean)

    def compute(self) -> dict[str, float]:
        """Return the loss and the ``forecast_scores``."""
        forecasts, truth = self.joined()
        loss = self.given_loss()
        if loss is None:
            error = np.abs(forecasts - truth) / np.asarray(self.spec.std)
            loss = float(LOSSES[self.loss](error).mean())
        return {"loss": loss, **forecast_scores(forecasts, truth, spec=self.spec)}

    def given_loss(self) -> float | None:
        """Return the mean of ``losses``; None where there are none."""
        return float(torch.cat(self.losses).double().mean()) if self.losses else None


def forecast_scores(forecasts: np.ndarray, truth: np.ndarray, *, spec: DataSpec) -> dict[str, float]:
    r"""Score forecasts ``(N, horizon, C)`` against ``truth (N, horizon, C)``, both unscaled.

    With e = forecast - truth and means over samples, steps and columns:

    - mae = mean |e|, mse = mean e^2, rmse = sqrt(mse), in the units of the data (mse: squared);
    - mae_scaled, mse_scaled: the same after dividing each column by its standard deviation on the training split,
      as reported in papers on long-horizon forecasting;
    - smape = mean 200 |e| / (|forecast| + |truth|), per cent (0 where both are 0);
    - mase = mean |e| / q, where q is the mean of the training split of |y_t - y_{t - season}|, per column
      (Hyndman & Koehler 2006): below 1 is better than the seasonal naive forecast one season ahead in training.
      Omitted if ``spec`` has no q.
    """
    error = np.abs(forecasts - truth)
    scaled = error / np.asarray(spec.std)
    size = np.abs(forecasts) + np.abs(truth)
    mse = float(np.mean(error**2))
    scores = {
        "mae": float(error.mean()),
        "rmse": mse**0.5,
        "mse": mse,
        "smape": float(np.mean(200 * error / np.where(size == 0, 1, size))),
        "mae_scaled": float(scaled.mean()),
        "mse_scaled": float(np.mean(scaled**2)),
    }
    if spec.naive_error:
        scores["mase"] = float(np.mean(error / np.asarray(spec.naive_error)))
    return scores
