"""The seasonal series: its formula, and the floors under every forecast of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cellstate.data.synthetic.floor import expected_floor, realised_floor
from cellstate.data.synthetic.randomness import CounterRandom
from cellstate.data.synthetic.seasonal import seasonal_series
from cellstate.errors import RequestError


def test_the_signal_is_trend_plus_sines_step_by_step():
    series = seasonal_series(length=300, trend=0.3, amplitudes=(2.0, -1.0, 0.5), periods=(7.0, 12.5, 90.0), seed=4)
    for step in (0, 1, 6, 7, 100, 299):
        expected = 0.3 * step
        for amplitude, period in ((2.0, 7.0), (-1.0, 12.5), (0.5, 90.0)):
            expected += amplitude * math.sin(2 * math.pi * step / period)
        assert series.signal[step] == pytest.approx(expected, abs=1e-10)
    np.testing.assert_array_equal(series.values, series.signal + series.noise)


def test_the_defaults_are_a_slow_trend_under_seasons_of_50_and_25():
    series = seasonal_series(seed=0)
    assert series.values.shape == series.signal.shape == series.noise.shape == (1000,)
    # After a whole period of 50 both seasons are back: what is left is 50 steps of trend.
    np.testing.assert_allclose(series.signal[50:] - series.signal[:-50], 50 * 0.02, atol=1e-10)
    # The Fourier amplitudes of twenty whole periods, of the series without its trend, are those asked for.
    spectrum = np.abs(np.fft.rfft(series.signal - 0.02 * np.arange(1000))) * 2 / 1000
    assert spectrum[1000 // 50] == pytest.approx(10.0)
    assert spectrum[1000 // 25] == pytest.approx(5.0)
    assert np.delete(spectrum, [20, 40]).max() < 1e-9


def test_noise_is_normal_white_and_of_the_given_deviation():
    length = 50_000
    noise = seasonal_series(length=length, noise=2.5, seed=1).noise
    assert abs(noise.mean()) < 5 * 2.5 / math.sqrt(length)
    assert abs((noise**2).mean() / 2.5**2 - 1) < 5 * math.sqrt(2 / length)
    for lag in (1, 2, 25, 50):
        assert abs(np.corrcoef(noise[lag:], noise[:-lag])[0, 1]) < 5 / math.sqrt(length)


def test_a_longer_series_begins_with_the_shorter_one():
    short, long = seasonal_series(length=333, seed=9), seasonal_series(length=1000, seed=9)
    for first, second in zip(short, long, strict=True):
        np.testing.assert_array_equal(first, second[:333])


def test_seeds_give_independent_noise_on_one_signal():
    first, second = seasonal_series(length=10_000, seed=0), seasonal_series(length=10_000, seed=1)
    np.testing.assert_array_equal(first.signal, second.signal)
    assert abs(np.corrcoef(first.noise, second.noise)[0, 1]) < 5 / math.sqrt(10_000)


def test_without_noise_the_series_is_its_signal():
    series = seasonal_series(noise=0.0, seed=0)
    np.testing.assert_array_equal(series.values, series.signal)
    assert expected_floor(0.0) == {"mae": 0.0, "rmse": 0.0, "mse": 0.0}


def test_the_expected_floor_is_the_noise_of_a_monte_carlo():
    noise = 1.7 * np.random.default_rng(0).standard_normal(400_000)
    floor = expected_floor(1.7)
    spread = 5 / math.sqrt(noise.size)
    # Var |N| = sigma^2 (1 - 2 / pi), Var N^2 = 2 sigma^4
    assert abs(np.abs(noise).mean() - floor["mae"]) < spread * 1.7 * math.sqrt(1 - 2 / math.pi)
    assert abs((noise**2).mean() - floor["mse"]) < spread * 1.7**2 * math.sqrt(2)
    assert floor["rmse"] == pytest.approx(math.sqrt(floor["mse"]))


def test_no_constant_shift_of_the_signal_beats_it_in_expectation():
    noise = CounterRandom("shift").normal(range(100_000), 1)[:, 0]
    for shift in (-0.1, 0.1):
        assert np.abs(noise - shift).mean() > np.abs(noise).mean()
        assert np.square(noise - shift).mean() > np.square(noise).mean()


def test_the_realised_floor_is_the_score_of_the_signal_in_those_windows():
    series = seasonal_series(length=200, noise=3.0, seed=2)
    starts, horizon = [150, 0, 151, 151, 190], 10
    absolute, squared = [], []
    for start in starts:
        for step in range(start, start + horizon):
            error = float(series.values[step] - series.signal[step])
            absolute.append(abs(error))
            squared.append(error**2)
    floor = realised_floor(series.noise, starts, horizon)
    assert floor["mae"] == pytest.approx(sum(absolute) / len(absolute))
    assert floor["mse"] == pytest.approx(sum(squared) / len(squared))
    assert floor["rmse"] == pytest.approx(math.sqrt(sum(squared) / len(squared)))


def test_the_realised_floor_of_many_windows_nears_the_expected_one():
    series = seasonal_series(length=100_000, noise=2.0, seed=3)
    realised, expected = realised_floor(series.noise, np.arange(0, 100_000, 24)[:-1], 24), expected_floor(2.0)
    assert realised.keys() == expected.keys()
    assert realised["mae"] == pytest.approx(expected["mae"], rel=0.02)
    assert realised["rmse"] == pytest.approx(expected["rmse"], rel=0.02)


def test_all_problems_of_a_request_are_told_at_once():
    with pytest.raises(RequestError) as refusal:
        seasonal_series(length=0, amplitudes=(1.0,), periods=(10.0, 0.0), noise=-1.0, seed=0)
    told = "\n".join(refusal.value.problems)
    assert len(refusal.value.problems) == 4
    for part in ("length=0", "amplitudes has 1 values and periods 2", "periods=[10.0, 0.0]", "noise=-1.0"):
        assert part in told


@pytest.mark.parametrize(("starts", "horizon"), [([], 5), ([0], 0), ([-1], 5), ([96], 5)])
def test_windows_that_leave_the_series_are_refused(starts, horizon):
    with pytest.raises(RequestError):
        realised_floor(np.zeros(100), starts, horizon)


def test_a_window_may_end_with_the_series():
    assert realised_floor(np.ones(100), [95], 5) == {"mae": 1.0, "rmse": 1.0, "mse": 1.0}
