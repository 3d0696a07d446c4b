"""Trend, seasons and white noise: a series with a known best possible forecast, in expectation and as realised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from cellstate.config.types import NonNegativeFloat, PositiveInt
from cellstate.data.splitting import Series
from cellstate.data.synthetic.randomness import CounterRandom
from cellstate.data.windows import Split, WindowedData
from cellstate.errors import RequestError
from cellstate.runs.memory import refuse_beyond_memory

Waves = Annotated[Sequence[float], Field(max_length=1000)]
ROW_BYTES = 48  # per row of a series: time, signal, noise, values, scaled values


class SeasonalSeries(NamedTuple):
    """A series and its components, each ``(length,)`` float64: ``values = signal + noise``."""

    values: NDArray[np.float64]
    signal: NDArray[np.float64]
    noise: NDArray[np.float64]


def seasonal_series(
    *,
    length: int = 1000,
    trend: float = 0.02,
    amplitudes: Sequence[float] = (10.0, 5.0),
    periods: Sequence[float] = (50.0, 25.0),
    noise: float = 1.0,
    seed: int,
) -> SeasonalSeries:
    """Return ``y_t = trend * t + sum_k a_k sin(2 pi t / p_k) + e_t`` with ``e_t ~ N(0, noise^2)``, t = 0 … length - 1.

    Periods are in steps, ``trend`` in units per step, ``noise`` is the standard deviation. The noise at step ``t``
    depends only on the seed and ``t``: a longer series starts with the shorter one, and the same scaled draw is added
    to any trend and seasons. RequestError (with all problems) if the parameters are invalid.
    """
    problems = []
    if length < 1:
        problems.append(f"length={length}: must be at least 1")
    if len(amplitudes) != len(periods):
        problems.append(
            f"amplitudes has {len(amplitudes)} values and periods {len(periods)}: give one amplitude for each period"
        )
    if any(not period > 0 for period in periods):
        problems.append(f"periods={list(periods)}: periods must be positive")
    if not noise >= 0:
        problems.append(f"noise={noise}: must be 0 or more")
    if problems:
        raise RequestError(*problems)
    refuse_beyond_memory(ROW_BYTES * length, f"a series of data.length={length}", "set a smaller data.length")

    time = np.arange(length, dtype=np.float64)
    signal = trend * time
    for amplitude, period in zip(amplitudes, periods, strict=True):
        signal += amplitude * np.sin(2.0 * np.pi * time / period)
    drawn = noise * CounterRandom("seasonal", seed, "noise").normal(np.arange(length), 1)[:, 0]
    return SeasonalSeries(values=signal + drawn, signal=signal, noise=drawn)


def seasonal(*, seed: int, **parameters: Any) -> Series:
    """Return ``seasonal_series`` as forecasting data, with its default window and horizon."""
    drawn = seasonal_series(seed=seed, **parameters)
    noise = float(parameters.get("noise", 1.0))
    season = max(1, round(max(parameters.get("periods", (50.0,)), default=1)))
    facts = (f"synthetic seasonal series of {len(drawn.values):,} steps, noise of standard deviation {noise:g}",)
    return Series(
        drawn.values[:, None], ("value",), season, facts, window=50, horizon=10, noise=drawn.noise, noise_std=noise
    )


class SeasonalData(WindowedData):
    """Windows of a synthetic series with trend, seasons and noise, with a known best possible forecast.

    Args:
        length: steps of the series.
        trend: units per step.
        amplitudes: of the sine waves.
        periods: of the sine waves, in steps.
        noise: standard deviation of the white noise.
        window: input steps.
        horizon: steps to forecast.
        split: training, validation and test, as shares or numbers of steps.
        batch_size: windows per batch.
        seed: of the noise and the order of the training windows.
    """

    def __init__(
        self,
        *,
        length: PositiveInt = 1000,
        trend: float = 0.02,
        amplitudes: Waves = (10.0, 5.0),
        periods: Waves = (50.0, 25.0),
        noise: NonNegativeFloat = 1.0,
        window: PositiveInt = 50,
        horizon: PositiveInt = 10,
        split: Split | None = None,
        batch_size: PositiveInt = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(window=window, horizon=horizon, split=split, batch_size=batch_size, seed=seed)
        self.parameters = {
            "length": length,
            "trend": trend,
            "amplitudes": tuple(amplitudes),
            "periods": tuple(periods),
            "noise": noise,
        }

    @override
    def series(self) -> Series:
        return seasonal(seed=self.seed, **self.parameters)
