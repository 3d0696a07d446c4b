"""The forecaster: what every step of the forecast has seen, and how it moves with its window."""

from functools import partial

import numpy as np
import pytest
import torch
from tests.rounding import rounding

from cellstate.backbone import GRU, LSTM
from cellstate.data.batch import Batch, DataSpec
from cellstate.errors import RequestError
from cellstate.model import Forecaster
from cellstate.model.forecasting.model import default_segment

ONE = DataSpec(input_size=1, targets=("v",), window=12, horizon=5, mean=(50.0,), std=(4.0,))
TWO = DataSpec(input_size=2, targets=("v", "w"), window=12, horizon=5, mean=(50.0, -3.0), std=(4.0, 0.2))
NORMALISATIONS = ("last", "mean", "mean_std", "none")


def forecaster(spec=ONE, backbone=LSTM, **options):
    torch.manual_seed(0)
    return Forecaster(spec, partial(backbone, hidden_size=8), **options).eval()


def windows(spec=ONE, count=6, steps=None, seed=0):
    return torch.randn(count, steps or spec.window, spec.input_size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("spec", [ONE, TWO])
@pytest.mark.parametrize(("segment", "embedding_size"), [(1, None), (4, 6), (12, 3)])
def test_the_newest_input_reaches_every_step_through_the_backbone(spec, normalisation, segment, embedding_size):
    model = forecaster(spec, normalisation=normalisation, segment=segment, embedding_size=embedding_size)
    inputs = windows(spec).requires_grad_()
    forecast = model(inputs)
    assert forecast.shape == (6, 5, spec.input_size)
    for step in range(5):
        for column in range(spec.input_size):
            (gradient,) = torch.autograd.grad(forecast[:, step, column].sum(), inputs, retain_graph=True)
            newest = gradient[:, -1, column]
            # Were the last value merely added, as `last` does, the derivative would be exactly 1.
            assert newest.abs().min() > 1e-6
            assert (newest - 1).abs().max() > 1e-4
            assert gradient[:, 0].abs().max() > 1e-9  # and so does the oldest


@pytest.mark.parametrize("spec", [ONE, TWO])
@pytest.mark.parametrize("normalisation", ["last", "mean", "mean_std"])
def test_a_shifted_series_has_the_shifted_forecast(spec, normalisation):
    model = forecaster(spec, normalisation=normalisation)
    history = (windows(spec).double() * torch.tensor(spec.std) + torch.tensor(spec.mean)).numpy()
    shift = np.array([1000.0, -7.0])[: spec.input_size]
    np.testing.assert_allclose(model.predict(history + shift), model.predict(history) + shift, atol=1e-3)


def test_a_shifted_series_has_another_forecast_without_normalisation():
    model = forecaster(normalisation="none")
    history = windows().double().numpy() * 4 + 50
    assert np.abs(model.predict(history + 10) - model.predict(history) - 10).max() > 1


@pytest.mark.parametrize("factor", [0.01, 3.0, 1000.0])
def test_a_stretched_series_has_the_stretched_forecast_with_mean_std(factor):
    model = forecaster(normalisation="mean_std")
    inputs = windows()
    torch.testing.assert_close(model(inputs * factor), model(inputs) * factor, rtol=2e-3, atol=2e-3 * factor)
    flipped = model(inputs.flip(0))
    torch.testing.assert_close(flipped, model(inputs).flip(0))  # each window is normalised by itself


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_a_constant_window_has_a_finite_forecast_and_gradient(normalisation):
    model = forecaster(normalisation=normalisation)
    forecast = model(torch.full((3, 12, 1), 2.0))
    forecast.sum().backward()
    assert torch.isfinite(forecast).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("segment", [1, 3, 12])
def test_the_forecast_is_that_of_a_computation_by_hand(normalisation, segment):
    model = forecaster(TWO, GRU, normalisation=normalisation, segment=segment, embedding_size=7)
    inputs = windows(TWO)
    expected = []
    for window in inputs:
        centre, spread = torch.zeros(2), torch.ones(2)
        if normalisation == "last":
            centre = window[-1]
        if normalisation in ("mean", "mean_std"):
            centre = window.sum(0) / 12
        if normalisation == "mean_std":
            spread = ((window - centre) ** 2).mean(0).sqrt()
        scaled = (window - centre) / spread
        segments = [scaled[start : start + segment].flatten() for start in range(0, 12, segment)]
        embedded = torch.stack(segments) @ model.embedding.weight.T + model.embedding.bias
        _, state = model.backbone.network(embedded[None])
        forecast = (state[0] @ model.head.weight.T + model.head.bias).view(5, 2)
        expected.append(forecast * spread + centre)
    torch.testing.assert_close(model(inputs), torch.stack(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spec", [ONE, TWO])
def test_predictions_in_own_units_are_those_of_the_scaled_window_unscaled(spec):
    model = forecaster(spec)
    mean, std = np.asarray(spec.mean), np.asarray(spec.std)
    history = windows(spec).double().numpy() * std + mean
    scaled = torch.from_numpy((history - mean) / std).float()
    expected = model(scaled).detach().double().numpy() * std + mean
    np.testing.assert_allclose(model.predict(history), expected, rtol=1e-6)
    within = rounding(12 * (len(mean) + 8) + 8) * (np.abs(mean) + std).max()  # twelve steps, eight units
    np.testing.assert_allclose(model.predict(history[2]), expected[2], rtol=0, atol=within)


@pytest.mark.parametrize("spec", [ONE, TWO])
def test_of_a_longer_history_the_newest_window_counts(spec):
    model = forecaster(spec)
    history = windows(spec, steps=40).double().numpy() * 3 + 40
    np.testing.assert_array_equal(model.predict(history), model.predict(history[:, -12:]))
    with pytest.raises(RequestError, match="a history of 11 steps is too short: the model needs windows of 12"):
        model.predict(history[:, -11:])


def test_forecasts_have_the_shape_of_what_was_handed_in():
    model, two = forecaster(), forecaster(TWO)
    history = windows().numpy()
    assert model.predict(history).shape == (6, 5, 1)
    assert model.predict(history[:1]).shape == (1, 5, 1)
    assert model.predict(history[0]).shape == (5, 1)
    assert model.predict(history[0, :, 0]).shape == (5,)
    assert model.predict(history[0, :, 0].tolist()).shape == (5,)
    assert model.predict(history[..., 0]).shape == (6, 5)
    assert model.predict(history[:1, :, 0]).shape == (1, 5)
    np.testing.assert_array_equal(model.predict(history[..., 0]), model.predict(history)[..., 0])
    assert two.predict(windows(TWO)).shape == (6, 5, 2)
    assert two.predict(windows(TWO)[0]).shape == (5, 2)


@pytest.mark.parametrize("name", ["mae", "mse", "huber"])
def test_losses_are_means_over_samples_steps_and_columns(name):
    model = forecaster(TWO, loss=name)
    forecast, truth = 2 * windows(TWO, steps=5), windows(TWO, steps=5, seed=1)
    values = []
    for error in (forecast - truth).abs().double().flatten().tolist():
        values.append({"mae": error, "mse": error**2, "huber": error**2 / 2 if error < 1 else error - 0.5}[name])
    found = model.loss(forecast, Batch(truth, truth)).item()
    assert found == pytest.approx(np.mean(values), rel=1e-6)


def test_a_segment_is_one_season_where_the_window_holds_four_whole_ones():
    def segment(window, season):
        return default_segment(DataSpec(window=window, season=season))

    assert segment(336, 24) == 24
    assert segment(96, 24) == 24
    assert segment(72, 24) == 6
    assert segment(100, 24) == 10
    assert segment(50, 1) == 5
    assert segment(97, 1) == 1
    assert segment(7, 1) == 1
    with pytest.raises(RequestError, match=r"model.segment=5 does not divide data.window=12; set data.window=10"):
        forecaster(segment=5)


def test_noise_is_added_in_training_alone_and_to_the_targets_window_alone():
    quiet, noisy, inputs = forecaster(), forecaster(input_noise=0.3), windows()
    torch.testing.assert_close(noisy(inputs), quiet(inputs), rtol=0, atol=0)
    noisy.train()
    seen = []
    noisy.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    repeated = inputs[:1].expand(4000, 12, 1)
    first, second = noisy(repeated), noisy(repeated)
    assert (first != second).any()
    # Of 48,000 draws, the deviation's own standard error is s / sqrt(2 n).
    drawn = seen[0].reshape(4000, 12, 1) - (inputs[:1] - inputs[:1, -1:])
    assert abs(drawn.std().item() - 0.3) < 5 * 0.3 / (2 * 48_000) ** 0.5
    assert abs(drawn.mean().item()) < 5 * 0.3 / 48_000**0.5


def test_a_model_that_knows_the_next_values_of_a_line_extrapolates_it():
    # Trained on low values alone, a network with last-value normalisation forecasts high ones as well.
    torch.manual_seed(0)
    model = Forecaster(ONE, partial(GRU, hidden_size=16))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    slopes = torch.linspace(-0.2, 0.2, 41).view(-1, 1, 1)
    line = slopes * torch.arange(17.0).view(1, -1, 1)
    for _ in range(150):
        optimizer.zero_grad()
        loss = model.loss(model(line[:, :12]), Batch(line, line[:, 12:]))
        loss.backward()
        optimizer.step()
    model.eval()
    far = line + 1000
    assert (model(far[:, :12]) - far[:, 12:]).abs().mean() < 0.05
    assert (far[:, 11:12] - far[:, 12:]).abs().mean() > 0.3
