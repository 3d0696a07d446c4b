"""The noise floor: the score of the best possible forecaster, in expectation and for the realised noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellstate.errors import RequestError


def expected_floor(noise: float) -> dict[str, float]:
    """Return the lowest expected ``mae``, ``rmse`` and ``mse`` of any forecaster, in the units of the data.

    The noise is independent between steps: given the past and the signal, the next value is ``N(signal, sigma^2)``. Its
    mean minimises the squared error and its median the absolute error; both are the signal. The remaining error is the
    noise, and for ``N ~ N(0, sigma^2)``

        E|N| = 2 int_0^inf x exp(-x^2 / 2 sigma^2) / (sigma sqrt(2 pi)) dx = sigma sqrt(2 / pi),   E N^2 = sigma^2.
    """
    return {"mae": noise * math.sqrt(2.0 / math.pi), "rmse": noise, "mse": noise**2}


def realised_floor(noise: NDArray[np.float64], starts: ArrayLike, horizon: int) -> dict[str, float]:
    """Return ``mae``, ``rmse`` and ``mse`` of the signal as forecast for the windows ``[start, start + horizon)``.

    noise: realised, ``(length,)``. starts: ``(W,)`` first step of each window. The error of that forecast is the noise;
    as for the metrics, means are over windows and steps (the root after the mean), and a step in several windows counts
    once in each. A model may score lower only by chance.
    RequestError if there is no window, or one exceeds the series.
    """
    first = np.asarray(starts)
    if first.ndim != 1 or first.size == 0 or horizon < 1:
        raise RequestError(f"{first.size} forecast windows of {horizon} steps: nothing to score")
    begin, end = first.min(), first.max() + horizon
    if begin < 0 or end > len(noise):
        raise RequestError(
            f"forecast windows from step {begin} to {end} exceed the series of {len(noise)} steps: "
            "give a longer series or a shorter horizon"
        )
    errors = np.lib.stride_tricks.sliding_window_view(noise, horizon)[first]  # (W, horizon)
    mse = float(np.mean(np.square(errors)))
    return {"mae": float(np.mean(np.abs(errors))), "rmse": math.sqrt(mse), "mse": mse}
