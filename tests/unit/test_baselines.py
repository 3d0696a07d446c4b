"""Baselines, held against loops and closed forms."""

import numpy as np
import pytest
import torch

from cellstate.data.baselines import last_value, majority, seasonal_drift, seasonal_naive
from cellstate.data.ridge import FOLDS, STRENGTHS
from cellstate.data.ridge_linear import ridge_linear


def walk(rows, columns=1, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns)).cumsum(axis=0)


def three_parts(rows, window, horizon):
    borders = [0, int(0.6 * rows), int(0.8 * rows), rows]
    return {
        name: np.arange(max(lower, window), upper - horizon + 1)
        for name, lower, upper in zip(("train", "val", "test"), borders, borders[1:], strict=False)
    }


@pytest.mark.parametrize("columns", [1, 3])
def test_the_last_value_is_repeated(columns):
    values, starts = walk(50, columns), np.array([1, 17, 40])
    forecast = last_value(values, starts, 6)
    assert forecast.shape == (3, 6, columns)
    for row, start in enumerate(starts):
        for step in range(6):
            np.testing.assert_array_equal(forecast[row, step], values[start - 1])


@pytest.mark.parametrize(("horizon", "season"), [(1, 4), (4, 4), (11, 4), (3, 1), (24, 7)])
@pytest.mark.parametrize("columns", [1, 2])
def test_the_last_season_is_repeated_as_often_as_the_horizon_asks(horizon, season, columns):
    values, starts = walk(80, columns), np.array([season, 30, 55])
    drift = np.linspace(0.5, 1.0, columns)
    plain = seasonal_naive(values, starts, horizon, season)
    drifting = seasonal_naive(values, starts, horizon, season, drift)
    assert plain.shape == (3, horizon, columns)
    for row, start in enumerate(starts):
        last_season = values[start - season : start]
        for step in range(horizon):
            np.testing.assert_array_equal(plain[row, step], last_season[step % season])
            np.testing.assert_allclose(drifting[row, step], last_season[step % season] + drift * (step // season + 1))


def test_a_season_of_one_step_is_the_last_value():
    values, starts = walk(40), np.array([3, 20])
    np.testing.assert_array_equal(seasonal_naive(values, starts, 5, 1), last_value(values, starts, 5))


def test_the_seasonal_forecast_of_a_trend_with_seasons_is_exact_with_drift():
    steps = np.arange(100.0)
    values = (0.3 * steps + np.sin(2 * np.pi * steps / 8))[:, None]
    starts = np.array([8, 50, 70])
    forecast = seasonal_naive(values, starts, 20, 8, drift=np.array([0.3 * 8]))
    np.testing.assert_allclose(forecast, values[starts[:, None] + np.arange(20)], atol=1e-10)


@pytest.mark.parametrize("start", [1, 2, 5])
def test_before_the_first_season_the_forecast_still_knows_the_past_alone(start):
    values = walk(60)
    altered = values.copy()
    altered[start:] += 100
    one, other = (seasonal_naive(series, np.array([start]), 20, 12) for series in (values, altered))
    np.testing.assert_array_equal(one, other)
    assert np.isfinite(one).all()


def test_nothing_before_its_own_first_row_is_looked_at():
    values, starts, first = walk(60), np.array([22, 45]), np.array([20, 40])
    altered = values.copy()
    altered[:20] += 100
    one, other = (seasonal_naive(series, starts, 6, 12, first=first) for series in (values, altered))
    np.testing.assert_array_equal(one, other)
    alone = [
        seasonal_naive(values[at:], np.array([start - at]), 6, 12) for start, at in zip(starts, first, strict=True)
    ]
    np.testing.assert_array_equal(one, np.concatenate(alone))


def test_the_drift_of_a_trend_is_significant_and_that_of_noise_seldom():
    drift, deviations = seasonal_drift(0.02 * np.arange(700.0)[:, None] + walk(700) * 0, 50)
    np.testing.assert_allclose(drift, 1.0)
    assert deviations[0] > 100
    # Seasons whose means walk at random: mean(D) / (sd(D) / sqrt(K - 1)) is Student's t with K - 2 degrees of freedom,
    # so that 5.9 % of series with K = 20 lie beyond 2.1; of 400, 24 +- 5 sigma (4.7 each).
    generator, beyond = np.random.default_rng(0), 0
    for _ in range(400):
        means = generator.normal(size=20).cumsum()
        _, deviations = seasonal_drift(np.repeat(means, 6)[:, None], 6)
        beyond += abs(deviations[0]) > 2.1
    assert 0 < beyond < 48
    np.testing.assert_array_equal(seasonal_drift(walk(30), 10)[1], 0)  # three seasons tell nothing
    np.testing.assert_array_equal(seasonal_drift(np.ones((100, 2)), 5)[1], 0)


# ---------------------------------------------------------------------- ridge


def least_squares(inputs, targets, strength):
    """Ridge regression without its normal equations: the minimum of || [X 1; sqrt(s) I 0] w - [Y; 0] ||."""
    steps = inputs.shape[1]
    stacked = np.vstack([np.column_stack([inputs, np.ones(len(inputs))]), np.eye(steps, steps + 1) * np.sqrt(strength)])
    return np.linalg.lstsq(stacked, np.vstack([targets, np.zeros((steps, targets.shape[1]))]), rcond=None)[0]


def with_ones(inputs):
    return np.column_stack([inputs, np.ones(len(inputs))])


def ridge_by_hand(column, starts, reported, window, horizon):
    """The reference window by window, on the column divided by its training deviation."""
    scale = column[: starts[-1]].std()
    column = column / scale

    def rows(positions):
        last = [column[start - 1] for start in positions]
        windows = [column[start - window : start] - column[start - 1] for start in positions]
        targets = [column[start : start + horizon] - column[start - 1] for start in positions]
        return np.array(windows), np.array(targets), np.array(last)

    def left_out(strength):
        total = 0.0
        for part in np.array_split(np.arange(len(starts)), FOLDS):
            inside = starts[part]
            outside = [start for start in starts if start < inside[0] - horizon + 1 or start >= inside[-1] + horizon]
            weights = least_squares(*rows(outside)[:2], strength)
            inputs, targets, _ = rows(inside)
            total += np.abs(with_ones(inputs) @ weights - targets).sum()
        return total

    best = min(STRENGTHS, key=left_out)
    windows, _, last = rows(reported)
    return (with_ones(windows) @ least_squares(*rows(starts)[:2], best) + last[:, None]) * scale


@pytest.mark.parametrize("columns", [1, 2])
def test_ridge_is_the_closed_form_with_the_strength_of_least_error_on_blocks_left_out(columns):
    values, window, horizon = walk(300, columns) * 7 + 30, 9, 4
    starts = three_parts(300, window, horizon)
    training = starts["train"][: FOLDS * (len(starts["train"]) // FOLDS)]  # blocks of one size
    forecast = ridge_linear(values, training, starts["test"], window, horizon)
    assert forecast.shape == (len(starts["test"]), horizon, columns)
    for number in range(columns):
        expected = ridge_by_hand(values[:, number], training, starts["test"], window, horizon)
        np.testing.assert_allclose(forecast[..., number], expected, rtol=1e-6, atol=1e-8)


def test_ridge_forecasts_a_trend_from_one_value_by_its_intercept():
    values = (0.5 * np.arange(200.0))[:, None]
    starts = three_parts(200, 1, 3)
    truth = values[starts["test"][:, None] + np.arange(3)]
    np.testing.assert_allclose(ridge_linear(values, starts["train"], starts["test"], 1, 3), truth, rtol=1e-12)


def test_ridge_forecasts_a_series_that_is_linear_in_its_past():
    steps = np.arange(800.0)
    values = (5 + np.sin(2 * np.pi * steps / 17) + 0.5 * np.cos(2 * np.pi * steps / 5.3))[:, None]
    starts = three_parts(800, 20, 12)
    truth = values[starts["test"][:, None] + np.arange(12)]
    error = np.abs(ridge_linear(values, starts["train"], starts["test"], 20, 12) - truth)
    assert error.max() < 1e-3
    assert np.abs(last_value(values, starts["test"], 12) - truth).mean() > 0.5


def test_ridge_carries_a_trend_beyond_what_it_was_fitted_on():
    values = (0.5 * np.arange(600.0) + 3)[:, None]
    starts = three_parts(600, 10, 5)
    truth = values[starts["test"][:, None] + np.arange(5)]
    np.testing.assert_allclose(ridge_linear(values, starts["train"], starts["test"], 10, 5), truth, rtol=1e-3)


def test_ridge_moves_with_the_series():
    values = walk(400)
    starts = three_parts(400, 12, 6)
    base = ridge_linear(values, starts["train"], starts["test"], 12, 6)
    np.testing.assert_allclose(
        ridge_linear(values + 1e6, starts["train"], starts["test"], 12, 6), base + 1e6, atol=1e-4
    )
    np.testing.assert_allclose(
        ridge_linear(values * -40, starts["train"], starts["test"], 12, 6), base * -40, atol=1e-8
    )


def test_ridge_learns_nothing_from_the_test_rows():
    values = walk(400)
    starts = three_parts(400, 12, 6)
    altered = values.copy()
    altered[starts["test"][0] :] += 50
    first = starts["test"][:1]
    one, other = (ridge_linear(series, starts["train"], first, 12, 6) for series in (values, altered))
    np.testing.assert_array_equal(one, other)


def test_thinning_many_training_windows_changes_a_linear_map_little(monkeypatch):
    values = walk(3000)
    starts = three_parts(3000, 8, 3)
    whole = ridge_linear(values, starts["train"], starts["test"], 8, 3)
    monkeypatch.setattr("cellstate.data.ridge_linear.MOST_WINDOWS", 600)
    thinned = ridge_linear(values, starts["train"], starts["test"], 8, 3)
    truth = values[starts["test"][:, None] + np.arange(3)]
    assert np.abs(thinned - truth).mean() == pytest.approx(np.abs(whole - truth).mean(), rel=0.03)


# ---------------------------------------------------------------------- majority


def test_majority_answers_with_the_class_most_common_in_training():
    training, labels = torch.tensor([1] * 75 + [0] * 25), torch.tensor([1, 1, 0, 0, 0])
    scores = {metric: values["majority"] for metric, values in majority(training, labels, 2).items()}
    assert scores["accuracy"] == pytest.approx(2 / 5)
    assert scores["loss"] == pytest.approx(-(2 * np.log(0.75) + 3 * np.log(0.25)) / 5)
    assert scores["f1"] == pytest.approx(2 * (2 / 5) * 1 / (2 / 5 + 1))
    assert scores["auroc"] == 0.5


def test_majority_knows_classes_that_training_lacks():
    scores = majority(torch.tensor([0, 0, 2]), torch.tensor([0, 1, 2, 0]), 3)
    assert scores["accuracy"]["majority"] == 0.5
    assert scores["auroc"]["majority"] == 0.5
    assert np.isfinite(scores["loss"]["majority"])
