"""What a forecaster fits in closed form before its network is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cellstate.data.datamodule import SequenceData
from cellstate.data.naive2 import decomposed
from cellstate.data.samples import WindowSamples
from cellstate.data.windows import WindowedData
from cellstate.model.forecasting.seasons import seasonal_naive

if TYPE_CHECKING:
    from cellstate.model.forecasting.model import Forecaster

MOST_WINDOWS = 20_000  # a linear map needs no more; evenly spaced


@torch.no_grad()
def fit_closed_form(model: Forecaster, data: SequenceData) -> None:
    """Fit the linear map, and measure the seasonal naive forecast, on the full windows of the training split."""
    samples = data.prepared.splits["train"]
    if not isinstance(data, WindowedData) or not isinstance(samples, WindowSamples):
        return
    if model.linear is None and model.loss_name != "owa":
        return
    spec = model.spec
    columns = len(spec.targets)
    stride = -(-len(samples) * columns // MOST_WINDOWS)
    batch = samples.batch(torch.arange(0, len(samples), stride, device=samples.starts.device))
    full = batch.inputs.isfinite().flatten(1).all(1)
    inputs, targets = batch.inputs[full].double(), batch.targets[full].double()
    if not len(inputs):
        return
    history = inputs[..., :columns]
    naive = seasonal_naive(history, spec.season, spec.horizon)
    errors = model.relative_errors(naive, targets), model.seasonal_errors((naive - targets).abs(), history)
    model.naive.copy_(torch.stack([part.mean() for part in errors]).clamp(min=1e-6))
    if model.linear is None:
        return
    window, _, frame = model.normalised(inputs)
    wanted = frame.normalised(model.transformed(targets))
    rows, horizons = (part.transpose(1, 2).flatten(0, 1) for part in (window, wanted))  # in order of time
    overlap = columns * -(-(spec.horizon - 1) // stride)
    model.linear.fit(rows, horizons, season_profile(model, data), overlap=overlap)


def season_profile(model: Forecaster, data: WindowedData) -> Tensor | None:
    """Return the mean season of the training rows, ``(season,)``, if the linear map uses one and they hold two."""
    assert model.linear is not None
    if model.linear.season == 1 or len(data.windows.training) > 1:
        return None
    training, season = torch.from_numpy(data.windows.training[0]).double(), model.linear.season
    if len(training) < 2 * season:
        return None
    mean, std = model.scaler(training)
    values = model.transformed((training - mean) / std)[:, 0].numpy()
    return torch.from_numpy(decomposed(values, season, multiplicative=False))
