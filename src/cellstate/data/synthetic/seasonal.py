"""A trend, seasons and white noise: a series whose best possible forecast is known, in expectation and as drawn."""

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
ROW_BYTES = 48  # of a series while it is made and cut: time, signal, noise, values, and those scaled


class SeasonalSeries(NamedTuple):
    """A series and what it is made of, each ``(length,)`` float64: ``values = signal + noise``."""

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

    Periods are in steps, ``trend`` in units a step, ``noise`` is the standard deviation. The noise at step ``t``
    depends on the seed and ``t`` alone: a longer series begins with the shorter one, and the same draw, scaled, lies
    on any trend and seasons. RequestError (all problems at once) where the parameters describe no series.
    """
    problems = []
    if length < 1:
        problems.append(f"length={length}: a series needs at least one step")
    if len(amplitudes) != len(periods):
        problems.append(
            f"amplitudes has {len(amplitudes)} values and periods {len(periods)}: give one amplitude for each period"
        )
    if any(not period > 0 for period in periods):
        problems.append(f"periods={list(periods)}: a period is a positive number of steps")
    if not noise >= 0:
        problems.append(f"noise={noise}: a standard deviation is 0 or more")
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
    """Return ``seasonal_series`` as forecasting data, with the window and the horizon that it is usually asked."""
    drawn = seasonal_series(seed=seed, **parameters)
    noise = float(parameters.get("noise", 1.0))
    season = max(1, round(max(parameters.get("periods", (50.0,)), default=1)))
    facts = (f"synthetic seasonal series of {len(drawn.values):,} steps, noise of standard deviation {noise:g}",)
    return Series(
        drawn.values[:, None], ("value",), season, facts, window=50, horizon=10, noise=drawn.noise, noise_std=noise
    )


class SeasonalData(WindowedData):
    """Windows of a synthetic series with trend, seasons and noise, whose best possible forecast is known.

    Args:
        length: steps of the series.
        trend: units a step.
        amplitudes: of the sine waves.
        periods: of the sine waves, in steps.
        noise: standard deviation of the white noise.
        window: steps that the forecaster sees.
        horizon: steps to forecast.
        split: training, validation and test, as shares or numbers of steps.
        batch_size: windows in one batch.
        seed: of the noise, and of the order of the training windows.
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
