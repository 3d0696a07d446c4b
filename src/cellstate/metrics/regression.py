"""Scores of predicted values, in the data's own units and in those of the training split's z-score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cellstate.metrics.forecast import LOSSES, forecast_scores

if TYPE_CHECKING:
    from cellstate.data.batch import DataSpec

METRICS = ("mae", "rmse", "mse", "mae_scaled", "mse_scaled")


class RegressionScores:
    """Keeps the predictions of a split; everything is computed at the end, at once.

    Predictions and truth come ``(B, K)``, scaled by the training split's z-score.
    """

    def __init__(self, spec: DataSpec, loss: str = "mse") -> None:
        self.spec, self.loss = spec, loss
        self.predictions: list[Tensor] = []
        self.truth: list[Tensor] = []

    def update(self, predictions: Tensor, truth: Tensor) -> None:
        """Add predictions ``(B, K)`` of what is true, ``(B, K)``."""
        self.predictions.append(predictions.detach())
        self.truth.append(truth)

    def joined(self) -> tuple[np.ndarray, np.ndarray]:
        """Return predictions and truth of the split so far, ``(N, K)`` each, in the data's own units."""
        mean, std = np.asarray(self.spec.mean), np.asarray(self.spec.std)
        predictions, truth = (torch.cat(part).cpu().double().numpy() for part in (self.predictions, self.truth))
        return predictions * std + mean, truth * std + mean

    def compute(self) -> dict[str, float]:
        """Return the loss, and what ``regression_scores`` gives."""
        predictions, truth = self.joined()
        error = np.abs(predictions - truth) / np.asarray(self.spec.std)
        loss = float(LOSSES[self.loss](error).mean())
        return {"loss": loss, **regression_scores(predictions, truth, spec=self.spec)}


def regression_scores(predictions: np.ndarray, truth: np.ndarray, *, spec: DataSpec) -> dict[str, float]:
    """Score predictions ``(N, K)`` against ``truth (N, K)``, both in the data's own units.

    mae, mse and rmse in those units, mae_scaled and mse_scaled after dividing each target by its standard deviation on
    the training split: as ``forecast_scores`` defines them, means over samples and targets. What it says of a series
    (mase) or of positive quantities (smape) is left out.
    """
    scores = forecast_scores(predictions, truth, spec=spec)
    return {name: scores[name] for name in METRICS}
