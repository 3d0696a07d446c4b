"""The scores of a forecaster that knows signal and noise of a synthetic series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellstate.data.datamodule import SequenceData
from cellstate.data.samples import WindowSamples
from cellstate.data.windows import WindowedData
from cellstate.metrics.probabilistic import gaussian_floor, gaussian_scores

if TYPE_CHECKING:
    from cellstate.model.forecasting.model import Forecaster


def known_noise(model: Forecaster, data: SequenceData) -> dict[str, dict[str, float]]:
    """Return metric -> name -> score for the metrics of the head beyond those of a point forecast.

    The forecaster forecasts N(signal, noise^2). ``optimum`` is its expected score, ``optimum_realised`` its score for
    the noise drawn in the windows of the reported split; there are none if the noise is unknown.
    """
    table: dict[str, dict[str, float]] = {metric: {} for metric in model.kind.metrics}
    series = data.whole_series if isinstance(data, WindowedData) else None
    samples = data.prepared.splits[data.reported_split]
    if not table or series is None or series.noise is None or not series.noise_std:
        return table
    assert isinstance(samples, WindowSamples)
    rows = samples.starts.cpu().numpy()[:, None] + np.arange(samples.horizon)
    noise = series.noise[rows]  # (N, horizon)
    floors = {
        "optimum": gaussian_floor(series.noise_std, model.kind.levels),
        "optimum_realised": gaussian_scores(0 * noise, 0 * noise + series.noise_std, noise, model.kind.levels),
    }
    return {metric: {name: floor[metric] for name, floor in floors.items()} for metric in table}
