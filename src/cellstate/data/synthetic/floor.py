"""The score that noise leaves to the best possible forecaster: in expectation, and for the noise that was drawn."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellstate.errors import RequestError


def expected_floor(noise: float) -> dict[str, float]:
    """Return the least ``mae``, ``rmse`` and ``mse`` that any forecaster can expect, in the data's units.

    The noise is independent from step to step, so the past says nothing of the noise to come: given all of the past and
    the signal itself, the next value is ``N(signal, sigma^2)``. The mean of that minimises the squared error and its
    median the absolute one; both are the signal. What remains is the noise, and for ``N ~ N(0, sigma^2)``

        E|N| = 2 int_0^inf x exp(-x^2 / 2 sigma^2) / (sigma sqrt(2 pi)) dx = sigma sqrt(2 / pi),   E N^2 = sigma^2.
    """
    return {"mae": noise * math.sqrt(2.0 / math.pi), "rmse": noise, "mse": noise**2}


def realised_floor(noise: NDArray[np.float64], starts: ArrayLike, horizon: int) -> dict[str, float]:
    """Return ``mae``, ``rmse`` and ``mse`` of the signal as the forecast of the windows ``[start, start + horizon)``.

    noise: ``(length,)`` as drawn. starts: ``(W,)`` first step of each window. The error of that forecast is the noise,
    so these are means over windows and steps (the root after the mean), as the metrics are. A step that several
    windows share counts once in each. A model may still score lower than this by luck, never by knowledge.
    RequestError where there is no window, or one leaves the series.
    """
    first = np.asarray(starts)
    if first.ndim != 1 or first.size == 0 or horizon < 1:
        raise RequestError(f"{first.size} forecast windows of {horizon} steps: there is nothing to score")
    begin, end = first.min(), first.max() + horizon
    if begin < 0 or end > len(noise):
        raise RequestError(
            f"forecast windows from step {begin} to {end} leave the series of {len(noise)} steps: "
            "give a longer series or a shorter horizon"
        )
    errors = np.lib.stride_tricks.sliding_window_view(noise, horizon)[first]  # (W, horizon)
    mse = float(np.mean(np.square(errors)))
    return {"mae": float(np.mean(np.abs(errors))), "rmse": math.sqrt(mse), "mse": mse}
