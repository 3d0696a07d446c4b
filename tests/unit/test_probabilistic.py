"""Probabilistic scores and heads, held against Monte Carlo, numerical integration and torch's own distributions."""

from functools import partial
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from cellstate.backbone import GRU
from cellstate.data.batch import Batch, DataSpec
from cellstate.data.synthetic.seasonal import SeasonalData
from cellstate.errors import RequestError
from cellstate.metrics.probabilistic import (
    LEVELS,
    GaussianScores,
    QuantileScores,
    gaussian_crps,
    gaussian_floor,
    gaussian_loss,
    gaussian_nll,
    gaussian_quantiles,
    gaussian_scores,
    interval_scores,
    pinball,
    pinball_loss,
    quantile_metrics,
    quantile_scores,
)
from cellstate.model import Forecaster
from cellstate.model.forecasting.heads import MINIMUM_STD

TWO = DataSpec(input_size=2, targets=("v", "w"), window=12, horizon=5, mean=(50.0, -3.0), std=(4.0, 0.2))
NORMALISATIONS = ("last", "mean", "mean_std", "none")
PROBABILISTIC = ("quantile", "gaussian")


def forecaster(spec=TWO, **options):
    torch.manual_seed(0)
    return Forecaster(spec, partial(GRU, hidden_size=8), **options).eval()


def windows(count=6, seed=0):
    return torch.randn(count, 12, 2, generator=torch.Generator().manual_seed(seed))


def own_units(window):
    return (window.double() * torch.tensor(TWO.std) + torch.tensor(TWO.mean)).numpy()


# ---------------------------------------------------------------------- scores


@pytest.mark.parametrize("level", [0.05, 0.3, 0.5, 0.95])
def test_the_pinball_loss_is_smallest_at_the_true_quantile(level):
    # Of an exponential variable, whose quantile is -ln(1 - level): nothing here is symmetric.
    drawn = np.random.default_rng(0).exponential(size=400_000)
    true = -np.log(1 - level)
    losses = pinball(true + np.linspace(-0.2, 0.2, 5) * np.ones((len(drawn), 1)), drawn, [level])
    means = losses.mean(axis=0)
    for place in (0, 1, 3, 4):
        gain = losses[:, place] - losses[:, 2]
        assert means[place] - means[2] > 5 * gain.std() / len(drawn) ** 0.5


def test_the_pinball_loss_is_that_of_its_definition_and_at_the_median_half_the_error():
    generator = np.random.default_rng(1)
    quantiles, truth = generator.normal(size=(7, 3, 2, 3)), generator.normal(size=(7, 3, 2))
    levels = (0.1, 0.5, 0.8)
    found = pinball(quantiles, truth, levels)
    for place in np.ndindex(7, 3, 2, 3):
        over, level = truth[place[:3]] - quantiles[place], levels[place[3]]
        assert found[place] == pytest.approx(level * over if over > 0 else (level - 1) * over)
    np.testing.assert_allclose(found[..., 1], np.abs(truth - quantiles[..., 1]) / 2)
    trained = pinball_loss(torch.from_numpy(quantiles), torch.from_numpy(truth), torch.tensor(levels).double())
    assert trained.item() == pytest.approx(found.mean(), rel=1e-6)


@pytest.mark.parametrize(
    ("mean", "std", "came"), [(0.0, 1.0, 0.0), (2.0, 0.5, 3.1), (-1.0, 3.0, -9.0), (0.0, 1e-3, 1.0)]
)
def test_the_closed_form_of_the_crps_is_the_integral_over_the_distribution_function(mean, std, came):
    # CRPS = int (F(x) - 1{x >= y})^2 dx (Matheson & Winkler 1976); F from torch, midpoint rule on either side of y.
    integral = 0.0
    for low, high, above in ((min(mean - 12 * std, came), came, 0.0), (came, max(mean + 12 * std, came), 1.0)):
        edges = torch.linspace(low, high, 200_001, dtype=torch.float64)
        squared = (Normal(mean, std).cdf((edges[1:] + edges[:-1]) / 2) - above) ** 2
        integral += (squared.mean() * (high - low)).item()
    found = gaussian_crps(np.array([mean]), np.array([std]), np.array([came])).item()
    assert found == pytest.approx(integral, rel=1e-5, abs=1e-6)


def test_the_crps_of_many_quantiles_is_that_of_the_distribution():
    generator = np.random.default_rng(2)
    mean, std, truth = generator.normal(size=300), generator.uniform(0.2, 3, 300), generator.normal(size=300)
    levels = [place / 500 for place in range(1, 500)]
    found = quantile_scores(gaussian_quantiles(mean, std, levels), truth, levels)["crps"]
    assert found == pytest.approx(gaussian_crps(mean, std, truth).mean(), rel=2e-3)


def test_the_crps_of_quantiles_that_all_agree_is_near_the_absolute_error():
    # Without spread the crps is |y - q|. Its integrand 2 pinball(t) is then linear in t but for the two ends, where
    # the rule takes it for 0: it loses (l_1 + 1 - l_Q) / 2 of the error, half of what lies beyond the outer levels.
    quantiles, truth = np.full((40, len(LEVELS)), 3.0), np.linspace(-5, 5, 40)
    assert quantile_scores(quantiles, truth, LEVELS)["crps"] == pytest.approx(0.95 * np.abs(truth - 3).mean())


def test_the_likelihood_is_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    mean, truth = (3 * torch.randn(50, 4, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    std = torch.rand(50, 4, 2, generator=generator, dtype=torch.float64) + 0.1
    expected = -Normal(mean, std).log_prob(truth)
    np.testing.assert_allclose(gaussian_nll(*(part.numpy() for part in (mean, std, truth))), expected.numpy())
    assert gaussian_loss(mean, std, truth).item() == pytest.approx(expected.mean().item())


def test_a_forecast_of_the_true_distribution_covers_what_it_says():
    generator = np.random.default_rng(3)
    count = 100_000
    mean, std = generator.normal(size=count), generator.uniform(0.1, 5, size=count)
    scores = interval_scores(gaussian_quantiles(mean, std, LEVELS), mean + std * generator.normal(size=count), LEVELS)
    for per_cent in (80, 90):
        share = per_cent / 100
        assert abs(scores[f"coverage_{per_cent}"] - share) < 5 * (share * (1 - share) / count) ** 0.5
        width = 2 * NormalDist().inv_cdf((1 + share) / 2) * std.mean()
        assert scores[f"interval_width_{per_cent}"] == pytest.approx(width)


def test_intervals_are_scored_where_both_of_their_ends_are_there():
    quantiles, truth = np.zeros((4, 3)), np.zeros(4)
    assert set(interval_scores(quantiles, truth, (0.1, 0.5, 0.9))) == {"coverage_80", "interval_width_80"}
    assert interval_scores(quantiles, truth, (0.1, 0.5, 0.95)) == {}
    assert set(interval_scores(np.zeros((4, 7)), truth, LEVELS)) | {"crps", "pinball"} == set(quantile_metrics(LEVELS))


def test_the_floor_is_what_the_true_distribution_scores_on_many_draws():
    sigma, count = 1.7, 200_000
    noise = sigma * np.random.default_rng(4).normal(size=count)
    floor = gaussian_floor(sigma)
    scores = gaussian_scores(np.zeros(count), np.full(count, sigma), noise, LEVELS)
    assert floor.keys() == scores.keys()
    deviations = {
        "crps": gaussian_crps(np.zeros(count), np.full(count, sigma), noise).std(),
        "nll": gaussian_nll(np.zeros(count), np.full(count, sigma), noise).std(),
        "pinball": pinball(gaussian_quantiles(np.zeros(count), np.full(count, sigma), LEVELS), noise, LEVELS)
        .mean(axis=-1)
        .std(),
        "coverage_80": 0.4,
        "coverage_90": 0.3,
        "interval_width_80": 1e-9,
        "interval_width_90": 1e-9,
    }
    for metric, value in floor.items():
        assert abs(scores[metric] - value) < 5 * deviations[metric] / count**0.5 + 1e-9, metric


@pytest.mark.parametrize("sizes", [(37,), (1,) * 37, (30, 7)])
@pytest.mark.parametrize("kind", [QuantileScores, GaussianScores])
def test_scores_are_means_over_samples_whatever_the_batches(kind, sizes):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(37, 5, 2, generator=generator)
    given = torch.rand(37, 5, 2, 7 if kind is QuantileScores else 2, generator=generator).sort(-1).values + 0.1
    truth[30:] += 5
    scores, whole = kind(TWO), kind(TWO)
    whole.update(given, truth)
    for forecast, came in zip(given.split(sizes), truth.split(sizes), strict=True):
        scores.update(forecast, came)
    assert scores.compute() == whole.compute()


# ---------------------------------------------------------------------- heads


@pytest.mark.parametrize("head", PROBABILISTIC)
def test_the_loss_that_is_reported_is_the_one_that_is_trained_on(head):
    model = forecaster(head=head)
    output, truth = model(windows()), torch.randn(6, 5, 2)
    scores = model.new_scores()
    model.update_scores(scores, output, Batch(truth, truth))
    found = scores.compute()
    assert found["loss"] == pytest.approx(model.loss(output, Batch(truth, truth)).item(), rel=1e-5)
    assert set(model.kind.metrics) == found.keys() - forecaster_metrics()


def forecaster_metrics():
    model = forecaster()
    scores = model.new_scores()
    model.update_scores(scores, model(windows()), Batch(windows(), torch.zeros(6, 5, 2)))
    return scores.compute().keys()


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_quantiles_never_cross(normalisation):
    model = forecaster(head="quantile", normalisation=normalisation)
    with torch.no_grad():
        model.head.weight.normal_(std=3)  # whatever the weights
        quantiles = model(torch.cat((windows(200), torch.zeros(1, 12, 2))))
    assert quantiles.shape == (201, 5, 2, 7)
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert (quantiles.diff(dim=-1) > 0).float().mean() > 0.9


@pytest.mark.parametrize("head", PROBABILISTIC)
def test_a_location_moves_and_stretches_with_the_window_and_a_scale_only_stretches(head):
    model = forecaster(head=head, normalisation="mean_std", quantiles=(0.1, 0.5, 0.9))
    inputs = windows()
    before, after = model(inputs), model(10 * inputs + 7)
    if head == "quantile":
        torch.testing.assert_close(after, 10 * before + 7, rtol=2e-3, atol=2e-3)
        return
    torch.testing.assert_close(after[..., 0], 10 * before[..., 0] + 7, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(after[..., 1] - MINIMUM_STD, 10 * (before[..., 1] - MINIMUM_STD), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("normalisation", ["last", "mean"])
def test_a_shift_leaves_the_standard_deviation_alone(normalisation):
    model = forecaster(head="gaussian", normalisation=normalisation)
    before, after = model(windows()), model(windows() + 7)
    torch.testing.assert_close(after[..., 0], before[..., 0] + 7, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after[..., 1], before[..., 1], rtol=1e-4, atol=1e-4)


def test_the_forecast_is_the_median_or_the_mean_in_own_units():
    history = own_units(windows())
    quantile, gaussian = forecaster(head="quantile"), forecaster(head="gaussian")
    assert quantile.predict(history).shape == (6, 5, 2)
    np.testing.assert_allclose(quantile.predict(history), quantile.predict_quantiles(history)[..., 3])
    np.testing.assert_allclose(gaussian.predict(history), gaussian.predict_quantiles(history, [0.5])[..., 0])
    np.testing.assert_allclose(
        quantile.predict_quantiles(history),
        quantile(windows()).detach().double().numpy() * np.array(TWO.std)[:, None] + np.array(TWO.mean)[:, None],
        rtol=1e-6,
    )


def test_gaussian_quantiles_are_those_of_torch_in_own_units():
    model, levels = forecaster(head="gaussian", normalisation="mean_std"), [0.99, 0.2, 0.5]
    output = model(windows()).detach().double()
    own = Normal(
        output[..., 0] * torch.tensor(TWO.std) + torch.tensor(TWO.mean), output[..., 1] * torch.tensor(TWO.std)
    )
    expected = torch.stack([own.icdf(torch.tensor(level).double()) for level in levels], dim=-1)
    np.testing.assert_allclose(model.predict_quantiles(own_units(windows()), levels), expected.numpy(), rtol=1e-5)


def test_quantiles_have_the_shape_of_what_was_handed_in():
    one = DataSpec(input_size=1, targets=("v",), window=12, horizon=5, mean=(5.0,), std=(2.0,))
    model, history = forecaster(one, head="quantile"), windows()[..., :1].numpy()
    assert model.predict_quantiles(history).shape == (6, 5, 1, 7)
    assert model.predict_quantiles(history[0]).shape == (5, 1, 7)
    assert model.predict_quantiles(history[..., 0]).shape == (6, 5, 7)
    assert model.predict_quantiles(history[0, :, 0], levels=[0.9, 0.1]).shape == (5, 2)
    first, second = model.predict_quantiles(history[0, :, 0], levels=[0.9, 0.1]).T
    assert (first > second).all()


@pytest.mark.parametrize(
    ("options", "levels", "said"),
    [
        ({}, None, "the point head does not forecast quantiles; train with model.head=quantile"),
        ({"head": "quantile"}, [0.2], "levels: 0.2 is not one of those that this model was trained on"),
        ({"head": "gaussian"}, [0.0], "give numbers between 0 and 1"),
    ],
)
def test_quantiles_that_a_head_cannot_give_are_refused(options, levels, said):
    with pytest.raises(RequestError, match=said):
        forecaster(**options).predict_quantiles(own_units(windows()), levels)


@pytest.mark.parametrize("head", PROBABILISTIC)
@pytest.mark.parametrize(
    "levels", [[0.1, 0.9], [0.9, 0.5, 0.1], [0.5, 0.5], [0.0, 0.5], [0.5, 1.0], [float("nan"), 0.5]]
)
def test_levels_that_make_no_sense_are_refused(head, levels):
    with pytest.raises(RequestError, match=r"model.quantiles=\[.*\]: give increasing levels .* including 0.5"):
        forecaster(head=head, quantiles=levels)


@pytest.mark.parametrize("head", PROBABILISTIC)
def test_a_head_learns_the_distribution_of_what_comes(head):
    # Windows of noise say nothing: what is left to learn is N(1, 0.5^2) itself, by bias or by weights.
    spec = DataSpec(input_size=1, targets=("v",), window=4, horizon=1, mean=(0.0,), std=(1.0,))
    model = forecaster(spec, head=head, normalisation="none").train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(1)
    for step in range(250):
        if step == 180:
            optimizer.param_groups[0]["lr"] = 0.002
        truth = 1 + 0.5 * torch.randn(512, 1, 1, generator=generator)
        optimizer.zero_grad()
        model.loss(model(torch.zeros(512, 4, 1)), Batch(truth, truth)).backward()
        optimizer.step()
    found = model.predict_quantiles(np.zeros((4, 1)))[0, 0]
    np.testing.assert_allclose(found, [NormalDist(1, 0.5).inv_cdf(level) for level in LEVELS], atol=0.06)


def test_what_the_noise_leaves_stands_beside_the_scores_of_a_probabilistic_head():
    data = SeasonalData(length=400, seed=3)
    spec = data.spec
    table = forecaster(spec, head="gaussian", quantiles=(0.1, 0.5, 0.9)).references(data)
    assert table.keys() == {"crps", "nll", "pinball", "coverage_80", "interval_width_80"}
    assert table["coverage_80"]["optimum"] == 0.8
    # On the noise as drawn, from the series itself: value minus signal, window by window.
    noise = data.whole_series.noise
    rows = data.prepared.splits["test"].starts.numpy()[:, None] + np.arange(10)
    z = NormalDist().inv_cdf(0.9)
    assert table["coverage_80"]["optimum_realised"] == pytest.approx((np.abs(noise[rows]) <= z).mean())
    likelihood = -Normal(0.0, 1.0).log_prob(torch.from_numpy(noise[rows])).mean().item()
    assert table["nll"]["optimum_realised"] == pytest.approx(likelihood)
    assert forecaster(spec).references(data) == {}
    assert "nll" not in forecaster(spec, head="quantile").references(data)
