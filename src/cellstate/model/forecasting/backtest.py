"""Rolling-origin backtest: a trained model forecasts repeatedly, each time from the data known by then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from cellstate.data.batch import Batch
from cellstate.data.samples import WindowSamples
from cellstate.data.windows import WindowedData
from cellstate.errors import RequestError
from cellstate.metrics.probabilistic import ProbabilisticScores
from cellstate.model import Forecaster, SequenceModel
from cellstate.model.inputs import as_sequences, predicting

SCALING = ("targets", "window", "horizon", "mean", "std", "past", "known", "input_mean", "input_std", "static", "ids")


@dataclass(frozen=True)
class Backtest:
    """The forecasts of all origins and the true values, all unscaled.

    Attributes:
        targets: names of the C columns.
        origins: ``(N,)`` the last row known to each forecast, counted from 0: step h is row origin + h.
        forecasts: ``(N, horizon, C)``.
        truth: ``(N, horizon, C)``.
        quantiles: ``(N, horizon, C, Q)`` of ``levels``; None for point forecasts.
        levels: of the quantiles.
        scores: metric -> value over all origins and steps, as in a test.
        by_step: the same for each step ahead.
        series: ``(N,)`` the series of each forecast, if the data has several.
    """

    targets: tuple[str, ...]
    origins: np.ndarray
    forecasts: np.ndarray
    truth: np.ndarray
    quantiles: np.ndarray | None
    levels: tuple[float, ...]
    scores: dict[str, float]
    by_step: list[dict[str, float]]
    series: np.ndarray | None = None

    def table(self) -> pl.DataFrame:
        """Return one row per origin, step ahead (from 1) and target.

        Columns: ``series`` if there are several, ``origin``, ``step``, ``target``, ``truth``, ``forecast``, and
        ``q0.05`` etc. for each level.
        """
        count, horizon, columns = self.truth.shape
        each = horizon * columns
        content: dict[str, Any] = {} if self.series is None else {"series": np.repeat(self.series, each)}
        content |= {
            "origin": np.repeat(self.origins, each),
            "step": np.tile(np.repeat(np.arange(1, horizon + 1), columns), count),
            "target": list(self.targets) * (count * horizon),
            "truth": self.truth.ravel(),
            "forecast": self.forecasts.ravel(),
        }
        if self.quantiles is not None:
            content |= {f"q{level:g}": self.quantiles[..., place].ravel() for place, level in enumerate(self.levels)}
        return pl.DataFrame(content)


def roll(model: SequenceModel, data: WindowedData | Any, stride: int | None = None) -> Backtest:
    """Forecast from successive origins, without retraining.

    The forecast of an origin depends only on the window that ends there, not on later rows; the scaler is the one
    fitted on the training rows of the model.

    Args:
        model: a trained forecaster.
        data: the data that the model was trained on, whose test split (else validation split) is used; or a series, an
            unscaled array ``(T,)`` or ``(T, C)``, of which all rows after the first full window are used.
        stride: rows between origins; None uses the horizon, so that each row is forecast once. With 1, the origins are
            all those of the split, and the scores are its scores.

    Raises:
        RequestError: the model is not a forecaster, or the data does not match it or is too short for one forecast.
    """
    refuse_other_tasks(model)
    assert isinstance(model, Forecaster)
    stride = model.spec.horizon if stride is None else stride
    if stride < 1:
        raise RequestError(f"stride={stride}: must be at least 1 row")
    samples, batch_size = windows_of(model, data)
    chosen = strided(samples.starts.cpu(), stride)
    output, truth = forecast_all(model, samples, chosen, batch_size)
    scores = model.new_scores()
    model.update_scores(scores, output, Batch(truth, truth))
    forecasts, values = scores.joined()
    by_step = []
    for step in range(model.spec.horizon):
        of_step = model.new_scores()
        part = truth[:, step : step + 1]
        model.update_scores(of_step, output[:, step : step + 1], Batch(part, part))
        by_step.append(of_step.compute())
    more = data.panel_scores(data.reported_split, scores, chosen.numpy()) if isinstance(data, WindowedData) else {}
    origins, series = places_of(samples.starts.cpu().numpy()[chosen.numpy()] - 1, data)
    probabilistic = isinstance(scores, ProbabilisticScores)
    return Backtest(
        targets=model.spec.targets,
        origins=origins,
        forecasts=forecasts,
        truth=values,
        quantiles=scores.quantiles() if probabilistic else None,
        levels=scores.levels if probabilistic else (),
        scores={**scores.compute(), **more},
        by_step=by_step,
        series=series,
    )


def refuse_other_tasks(model: SequenceModel) -> None:
    """Reject a model that is not a forecaster (RequestError)."""
    if not isinstance(model, Forecaster):
        raise RequestError(f"a backtest needs a forecaster; this model is a {type(model).__name__}")


def windows_of(model: Forecaster, data: WindowedData | Any) -> tuple[WindowSamples, int]:
    """Return the windows, scaled for the model, and the batch size."""
    spec = model.spec
    if isinstance(data, WindowedData):
        differing = [name for name in SCALING if getattr(data.spec, name) != getattr(spec, name)]
        if differing:
            raise RequestError(
                f"this model was trained on other data, with a different {differing[0]}; give the series "
                "as an array, which is scaled like the training rows of the model"
            )
        samples = data.prepared.splits[data.reported_split]
        assert isinstance(samples, WindowSamples)
        return samples, data.batch_size
    if spec.input_size > len(spec.targets):
        raise RequestError(
            "this model needs covariates or static features, which an array of targets does not contain; give the "
            "data, such as backtest(checkpoint, data={'path': FILE})"
        )
    rows = as_sequences(data, len(spec.targets))
    if len(rows) > 1:
        raise RequestError(f"a backtest takes one series, not {len(rows)}; give them one at a time")
    need = spec.window + spec.horizon
    if rows.shape[1] < need:
        raise RequestError(
            f"a series of {rows.shape[1]} rows is too short for a backtest: a window of {spec.window} and a horizon "
            f"of {spec.horizon} need {need}"
        )
    mean, std = torch.tensor(spec.mean).double(), torch.tensor(spec.std).double()
    values = ((rows[0].cpu() - mean) / std).float()
    starts = torch.arange(spec.window, len(values) - spec.horizon + 1)
    return WindowSamples(values, starts, spec.window, spec.horizon), 1024


def strided(starts: Tensor, stride: int) -> Tensor:
    """Return the indices of every ``stride``-th of ``starts (M,)``, counted within each run of consecutive rows."""
    breaks = torch.ones(len(starts), dtype=torch.bool)
    breaks[1:] = starts[1:] != starts[:-1] + 1
    begins = starts[breaks][breaks.cumsum(0) - 1]  # of the run that each start is in
    return torch.nonzero((starts - begins) % stride == 0).squeeze(1)


@predicting
def forecast_all(model: Forecaster, samples: WindowSamples, chosen: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    """Return forecasts and true values for the windows ``chosen (N,)``, scaled, on the CPU."""
    output, truth = [], []
    for indices in chosen.split(batch_size):
        batch = samples.batch(indices.to(samples.values.device))
        moved = model.transfer_batch_to_device(batch, model.device, 0)
        output.append(model.compute_output(moved).cpu())
        truth.append(batch.targets.cpu())
    return torch.cat(output), torch.cat(truth)


def places_of(rows: np.ndarray, data: WindowedData | Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return each row's number within its series, and the name of that series if there are several."""
    ids: Sequence[str] = getattr(data.whole_series, "ids", ()) if isinstance(data, WindowedData) else ()
    if not ids:
        return rows, None
    firsts = data.whole_series.firsts
    which = np.searchsorted(firsts, rows, side="right") - 1
    return rows - firsts[which], np.asarray(ids)[which]
