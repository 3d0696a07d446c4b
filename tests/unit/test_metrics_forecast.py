"""Scores of a forecast, held against loops over samples, steps and columns."""

import numpy as np
import pytest
import torch

from cellstate.data.batch import DataSpec
from cellstate.data.windows import naive_error_within
from cellstate.metrics.forecast import LOSSES, ForecastScores, forecast_scores
from cellstate.model.losses import LOSSES as TRAINED

SPEC = DataSpec(
    input_size=2, targets=("a", "b"), window=4, horizon=3, mean=(10.0, -2.0), std=(2.0, 0.5), naive_error=(1.5, 0.25)
)


def drawn(samples=37, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=(samples, 3, 2)) * [2.0, 0.5] + [10.0, -2.0]
    return truth + generator.normal(size=truth.shape), truth


def by_loops(forecasts, truth, spec):
    sums = dict.fromkeys(("mae", "mse", "mae_scaled", "mse_scaled", "smape", "mase"), 0.0)
    count = 0
    for sample in range(truth.shape[0]):
        for step in range(truth.shape[1]):
            for column in range(truth.shape[2]):
                guess, came = float(forecasts[sample, step, column]), float(truth[sample, step, column])
                error, std = abs(guess - came), spec.std[column]
                sums["mae"] += error
                sums["mse"] += error**2
                sums["mae_scaled"] += abs((guess - spec.mean[column]) / std - (came - spec.mean[column]) / std)
                sums["mse_scaled"] += ((guess - spec.mean[column]) / std - (came - spec.mean[column]) / std) ** 2
                sums["smape"] += 0.0 if guess == came == 0 else 100 * error / ((abs(guess) + abs(came)) / 2)
                sums["mase"] += error / spec.naive_error[column]
                count += 1
    means = {name: value / count for name, value in sums.items()}
    return {**means, "rmse": means["mse"] ** 0.5}


def test_scores_are_those_of_loops():
    forecasts, truth = drawn()
    truth[0, 0], forecasts[0, 0] = 0, 0  # smape is 0 there, not 0 / 0
    truth[1, 0], forecasts[1, 0] = 0, 3
    assert forecast_scores(forecasts, truth, spec=SPEC) == pytest.approx(by_loops(forecasts, truth, SPEC))


@pytest.mark.parametrize("sizes", [(37,), (1,) * 37, (30, 7), (16, 16, 5)])
def test_means_are_over_samples_whatever_the_batches(sizes):
    forecasts, truth = drawn()
    forecasts[30:] += 5  # were batches averaged, a small last one with large errors would count too much
    scaled = [torch.from_numpy((part - SPEC.mean) / SPEC.std).float() for part in (forecasts, truth)]
    scores = ForecastScores(SPEC, "mse")
    for guess, came in zip(*(part.split(sizes) for part in scaled), strict=True):
        scores.update(guess, came)
    found = scores.compute()
    loops = by_loops(forecasts, truth, SPEC)
    assert found == pytest.approx({**loops, "loss": loops["mse_scaled"]}, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_that_is_reported_is_the_one_that_is_trained_on(name):
    forecasts, truth = (torch.randn(50, 3, 2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    scores = ForecastScores(SPEC, name)
    scores.update(forecasts, truth)
    assert scores.compute()["loss"] == pytest.approx(TRAINED[name](forecasts, truth).item(), rel=1e-5)
    assert set(LOSSES) == set(TRAINED)


def test_a_perfect_forecast_has_no_error():
    _, truth = drawn()
    assert set(forecast_scores(truth, truth, spec=SPEC).values()) == {0.0}


def test_smape_is_at_most_200_per_cent():
    _, truth = drawn()
    assert forecast_scores(-truth, truth, spec=SPEC)["smape"] == pytest.approx(200)


def test_errors_far_from_zero_keep_their_detail():
    spec = DataSpec(targets=("a",), mean=(1e9,), std=(0.5,), naive_error=(0.1,))
    truth, forecasts = (torch.randn(200, 3, 1, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    scores = ForecastScores(spec)
    scores.update(forecasts, truth)
    assert scores.compute()["mae"] == pytest.approx(0.5 * (forecasts - truth).abs().double().mean().item(), rel=1e-5)


@pytest.mark.parametrize("season", [1, 4, 19])
def test_the_scale_of_mase_is_the_error_of_the_seasonal_naive_forecast_in_training(season):
    values = np.random.default_rng(0).normal(size=(20, 2))
    loops = [np.mean([abs(values[t, c] - values[t - season, c]) for t in range(season, 20)]) for c in range(2)]
    assert naive_error_within([values], season) == pytest.approx(tuple(loops))


def test_the_seasonal_naive_forecast_itself_scores_one():
    values = np.random.default_rng(0).normal(size=(500, 1)).cumsum(axis=0)
    spec = DataSpec(targets=("a",), mean=(0.0,), std=(1.0,), naive_error=naive_error_within([values], 7))
    truth, forecasts = values[7:, None], values[:-7, None]
    assert forecast_scores(forecasts, truth, spec=spec)["mase"] == pytest.approx(1)


def test_there_is_no_mase_where_seasons_repeat_exactly():
    values = np.sin(2 * np.pi * np.arange(200) / 10)[:, None]  # repeats but for the last bits
    assert naive_error_within([values], 10) == ()
    assert naive_error_within([values], 3) != ()
    spec = DataSpec(targets=("a",), mean=(0.0,), std=(1.0,), naive_error=())
    assert "mase" not in forecast_scores(values[None], values[None] + 1, spec=spec)
