"""Seasons that no clock gives: found where they are, and not where there are none."""

import numpy as np
import pytest

from cellstate.data.season import autocorrelation, inferred_season
from cellstate.data.synthetic.seasonal import seasonal_series


def noise(rows, columns=1, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def test_the_autocorrelation_is_that_of_a_loop():
    values = noise(60, 2).cumsum(axis=0)
    deviations = values - values.mean(axis=0)
    expected = [
        np.mean((deviations[: 60 - k] * deviations[k:]).mean(axis=0) / (deviations**2).mean(axis=0)) for k in range(20)
    ]
    np.testing.assert_allclose(autocorrelation(values, 20), expected, atol=1e-12)
    assert autocorrelation(np.ones((30, 1)), 5) is None
    np.testing.assert_array_equal(autocorrelation(values, 100)[60:], 0)


@pytest.mark.parametrize("season", [4, 7, 12, 24, 50, 365])
@pytest.mark.parametrize("seed", range(3))
def test_a_repeated_pattern_is_found_under_trend_and_noise(season, seed):
    rows = max(8 * season, 400)
    pattern = noise(season, seed=100 + seed)[:, 0] * 2
    values = pattern[np.arange(rows) % season] + 0.05 * np.arange(rows) + noise(rows, seed=seed)[:, 0]
    found = inferred_season([values[:, None]])
    assert found is not None
    assert found.steps == season


def test_the_slower_of_two_waves_is_the_season_of_the_synthetic_series():
    assert inferred_season([seasonal_series(seed=1).values[:700, None]]).steps == 50


@pytest.mark.parametrize("kind", ["white", "walk", "walk with drift", "autoregressive", "swinging"])
def test_what_has_no_season_is_given_none(kind):
    found = 0
    for seed in range(40):
        steps = noise(1000, seed=seed)[:, 0]
        values = steps.copy()
        if kind.startswith("walk"):
            values = np.cumsum(steps + (0.3 if kind.endswith("drift") else 0))
        if kind == "autoregressive":
            for at in range(1, 1000):
                values[at] += 0.8 * values[at - 1]
        if kind == "swinging":  # a pseudo-cycle of 12 steps, which forgets its beat within two of them
            for at in range(2, 1000):
                values[at] += 2 * 0.93 * np.cos(2 * np.pi / 12) * values[at - 1] - 0.93**2 * values[at - 2]
        found += inferred_season([values[:, None]]) is not None
    # What swings at 12 steps and keeps two fifths of it a cycle later is near a season: some draws look like one.
    assert found <= (10 if kind == "swinging" else 2)


def test_a_season_is_shared_by_several_series_and_columns():
    rows, season = 120, 10
    pattern = noise(season)[:, 0]
    values = [pattern[(np.arange(rows) + shift) % season, None] * 3 + noise(rows, seed=shift) for shift in range(6)]
    assert inferred_season(values).steps == season
    constant = np.hstack([values[0], np.ones((rows, 1))])
    assert inferred_season([constant, *[np.hstack([part, part]) for part in values[1:]]]).steps == season


def test_too_few_rows_tell_nothing():
    assert inferred_season([np.tile([1.0, 5.0, 2.0], 2)[:, None]]) is None
    assert inferred_season([np.ones((100, 1))]) is None
    assert inferred_season([np.arange(100.0)[:, None]]) is None
