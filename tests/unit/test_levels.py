"""Facts on levels that a model decides by: held against what they mean."""

import numpy as np
import pytest

from cellstate.data.files.series import SeriesData
from cellstate.data.levels import levels_differ, levels_of, spread_grows
from cellstate.data.season import seasons_of, second_season
from cellstate.errors import RequestError


def noise(rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 1))


def test_levels_differ_where_series_lie_further_apart_than_they_move():
    apart = [noise(200, seed) + 10 * seed for seed in range(5)]
    near = [noise(200, seed) + 0.1 * seed for seed in range(5)]
    assert levels_differ(apart)
    assert not levels_differ(near)
    assert not levels_differ(apart[:1])
    assert levels_differ([noise(200, seed) * 4.0**seed for seed in range(5)])  # of one level, but not of one spread


def test_single_precision_keeps_a_small_series_beside_a_large_one():
    small, large = 1 + 0.01 * noise(500, 1), 1e6 * (1 + 0.1 * noise(500, 2))
    levels = levels_of([small, large], 1)
    assert levels.levels_differ
    np.testing.assert_array_equal(levels.mean, 0)
    scaled = ((small - levels.mean) / levels.std).astype(np.float32)
    np.testing.assert_allclose(scaled.astype(float) * levels.std, small, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_logarithm_suits_where_the_spread_is_proportional_to_the_level(seed):
    level = np.exp(np.linspace(0, 2, 240))[:, None]
    season = 1 + 0.2 * np.sin(2 * np.pi * np.arange(240) / 12)[:, None]
    growing = level * season * np.exp(0.02 * noise(240, seed))
    assert levels_of([growing], 12).log_suits
    line = np.linspace(100, 700, 240)[:, None]
    assert levels_of([line + 9 * season + noise(240, seed)], 12).log_suits is False  # a constant spread
    assert levels_of([10 + noise(240, seed)], 12).log_suits is False  # one level
    assert levels_of([growing - growing.min()], 12).log_mean == ()  # not positive


def test_the_logarithm_has_the_mean_and_deviation_of_all_training_rows():
    parts = [np.exp(noise(50, seed) + 3) for seed in range(3)]
    levels = levels_of(parts, 1)
    logs = np.log(np.concatenate(parts))
    assert levels.log_mean == pytest.approx([logs.mean()])
    assert levels.log_std == pytest.approx([logs.std()])


def test_a_series_of_few_blocks_says_nothing_of_its_spread():
    assert not spread_grows([np.exp(np.linspace(0, 3, 30))], 12)


# ---------------------------------------------------------------------- a second season


def days_and_weeks(seed, *, weekly, weeks=12):
    """Days of 6 steps, the weekend another day, or all days alike."""
    hours, days = np.arange(weeks * 42) % 6, np.arange(weeks * 42) // 6 % 7
    pattern = 5.0 * hours * np.where(weekly & (days > 4), -1, 1)
    return (pattern + np.random.default_rng(seed).normal(size=len(pattern)))[:, None]


@pytest.mark.parametrize("seed", range(3))
def test_weeks_are_a_second_season_where_days_of_the_week_differ(seed):
    weekly = days_and_weeks(seed, weekly=True)
    seasons, facts = second_season([weekly], (6,), 84)
    assert seasons == (6, 42)
    assert "data.season=[6]" in facts[0]
    assert second_season([weekly], (6,), 41) == ((6,), ())  # the window holds no week
    drifting = weekly * 0.01 + np.arange(len(weekly))[:, None]
    assert second_season([drifting], (6,), 84)[0] == (6,)
    assert second_season([weekly, drifting, drifting, drifting], (6,), 84)[0] == (6, 42)
    assert second_season([weekly, *[drifting] * 4], (6,), 84)[0] == (6,)
    assert second_season([weekly], (6, 84), 84)[0] == (6, 84)  # as given


def test_the_reason_for_a_second_season_is_the_one_that_decided():
    weekly = days_and_weeks(0, weekly=True)
    drifting = weekly * 0.01 + np.arange(len(weekly))[:, None]  # a week apart, 7 times as far as a day
    assert (
        "in 25 % of 4 series rows that far apart differ at most 0.9 times"
        in second_season([weekly, drifting, drifting, drifting], (6,), 84)[1][0]
    )
    alike = [days_and_weeks(seed, weekly=True) for seed in range(3)]
    near = [np.abs(values[42:] - values[36:-6]).mean() for values in alike]
    far = [np.abs(values[42:] - values[:-42]).mean() for values in alike]
    mean = np.mean(np.divide(far, near))
    assert f"differ on average of 3 series {mean:.2f} times as much" in second_season(alike, (6,), 84)[1][0]


@pytest.mark.parametrize("season", [[24, 24], [168, 24], [1, 24], []])
def test_several_seasons_that_cannot_be_are_refused(season):
    with pytest.raises(RequestError, match=r"^data\.season=\[.*\]: give the steps of each season, all different"):
        _ = SeriesData(season=season).prepared


def test_seasons_are_kept_in_order_as_far_as_the_rows_reach():
    rows = [noise(100)]
    assert seasons_of([168, 24], [noise(500)]) == ((24, 168), ())
    seasons, facts = seasons_of([168, 24], rows)
    assert seasons == (24,)
    assert "168" in facts[0]
    assert seasons_of(1, rows) == ((), ())
