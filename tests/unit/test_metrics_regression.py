"""Scores of predicted values, held against loops over samples and targets."""

import numpy as np
import pytest
import torch

from cellstate.data.batch import DataSpec
from cellstate.metrics.forecast import LOSSES
from cellstate.metrics.regression import METRICS, RegressionScores, regression_scores

SPEC = DataSpec(input_size=2, targets=("a", "b"), mean=(10.0, -2.0), std=(2.0, 0.5))


def drawn(samples=37):
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(samples, 2)) * [2.0, 0.5] + [10.0, -2.0]
    return truth + generator.normal(size=truth.shape), truth


def by_loops(predictions, truth):
    sums = dict.fromkeys(("mae", "mse", "mae_scaled", "mse_scaled"), 0.0)
    count = 0
    for guesses, came in zip(predictions.tolist(), truth.tolist(), strict=True):
        for guess, value, std in zip(guesses, came, SPEC.std, strict=True):
            sums["mae"] += abs(guess - value)
            sums["mse"] += (guess - value) ** 2
            sums["mae_scaled"] += abs(guess / std - value / std)
            sums["mse_scaled"] += (guess / std - value / std) ** 2
            count += 1
    means = {name: total / count for name, total in sums.items()}
    return {**means, "rmse": means["mse"] ** 0.5}


def z_scores(values):
    return torch.from_numpy((values - SPEC.mean) / SPEC.std).float()


def test_scores_are_those_of_loops_and_of_nothing_that_a_series_alone_has():
    predictions, truth = drawn()
    found = regression_scores(predictions, truth, spec=SPEC)
    assert found == pytest.approx(by_loops(predictions, truth))
    assert tuple(found) == METRICS


@pytest.mark.parametrize("sizes", [(37,), (1,) * 37, (30, 7), (16, 16, 5)])
def test_means_are_over_samples_whatever_the_batches(sizes):
    predictions, truth = drawn()
    predictions[30:] += 5  # were batches averaged, a small last one with large errors would count too much
    scores = RegressionScores(SPEC, "mse")
    for guess, came in zip(z_scores(predictions).split(sizes), z_scores(truth).split(sizes), strict=True):
        scores.update(guess, came)
    loops = by_loops(predictions, truth)
    assert scores.compute() == pytest.approx({**loops, "loss": loops["mse_scaled"]}, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_that_of_torch_on_z_scores(name):
    predictions, truth = (torch.randn(50, 2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    scores = RegressionScores(SPEC, name)
    scores.update(predictions, truth)
    torchs = {
        "mae": torch.nn.functional.l1_loss,
        "mse": torch.nn.functional.mse_loss,
        "huber": torch.nn.functional.huber_loss,
    }[name]
    assert scores.compute()["loss"] == pytest.approx(torchs(predictions, truth).item(), rel=1e-5)


def test_a_perfect_prediction_has_no_error():
    _, truth = drawn()
    assert set(regression_scores(truth, truth, spec=SPEC).values()) == {0.0}


def test_errors_far_from_zero_keep_their_detail():
    spec = DataSpec(targets=("a",), mean=(1e9,), std=(0.5,))
    truth, predictions = (torch.randn(200, 1, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    scores = RegressionScores(spec)
    scores.update(predictions, truth)
    assert scores.compute()["mae"] == pytest.approx(0.5 * (predictions - truth).abs().double().mean().item(), rel=1e-5)
