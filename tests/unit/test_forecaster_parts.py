"""What a forecaster is made of beside its network: normalisation, base, linear map, units of the loss."""

from functools import partial

import numpy as np
import pytest
import torch

from cellstate.backbone import GRU
from cellstate.data.baselines import seasonal_naive as naive_of_rows
from cellstate.data.batch import Batch, DataSpec
from cellstate.data.naive2 import decomposed
from cellstate.data.ridge import ridge
from cellstate.errors import RequestError
from cellstate.model import Forecaster
from cellstate.model.forecasting.linear import LinearMap
from cellstate.model.forecasting.normalisation import frame_of
from cellstate.model.forecasting.seasons import SeasonalBase, seasonal_naive
from cellstate.model.forecasting.units import relative_error, scaled_error, seasonal_error

PANEL = DataSpec(
    input_size=1, targets=("v",), window=24, horizon=6, season=4, seasons=(4, 12), mean=(0.0,), std=(3.0,),
    levels_differ=True, log_mean=(1.0,), log_std=(2.0,), padded=True,
)  # fmt: skip
GROWING = DataSpec(
    input_size=1, targets=("v",), window=24, horizon=6, season=12, mean=(100.0,), std=(40.0,),
    log_mean=(4.5,), log_std=(0.4,), log_suits=True,
)  # fmt: skip
AUTOMATIC = {"normalisation": None, "transform": None, "base": None, "loss": None}


def forecaster(spec, **options):
    torch.manual_seed(0)
    return Forecaster(spec, partial(GRU, hidden_size=8), **options).eval()


def positive(count, steps, seed=0):
    return np.exp(np.random.default_rng(seed).normal(size=(count, steps)).cumsum(1) / 10 + 2)


# ---------------------------------------------------------------------- normalisation


@pytest.mark.parametrize("kind", ["last", "mean", "mean_std"])
def test_padding_does_not_change_how_a_window_is_normalised(kind):
    window = torch.randn(3, 10, 2, dtype=torch.float64)
    padded = torch.cat((torch.zeros(3, 5, 2, dtype=torch.float64), window), dim=1)
    observed = torch.arange(15)[None, :, None].expand(3, 15, 2) >= 5
    torch.testing.assert_close(
        frame_of(padded, kind, observed).normalised(padded)[:, 5:], frame_of(window, kind).normalised(window)
    )


def test_a_standardised_window_has_mean_0_and_deviation_1_and_comes_back():
    window = torch.randn(4, 50, 1, dtype=torch.float64) * 7 + 1000
    frame = frame_of(window, "mean_std")
    normalised = frame.normalised(window)
    torch.testing.assert_close(normalised.mean(1), torch.zeros(4, 1, dtype=torch.float64), atol=1e-9, rtol=0)
    # SMALLEST of the level is added to the deviation: 0.01 to 7.
    torch.testing.assert_close(
        normalised.std(1, correction=0), torch.ones(4, 1, dtype=torch.float64), atol=0, rtol=3e-3
    )
    torch.testing.assert_close(frame.restored(normalised), window)


# ---------------------------------------------------------------------- the base


@pytest.mark.parametrize("season", [3, 7])
def test_with_one_season_the_base_is_the_seasonal_naive_forecast(season):
    values = np.random.default_rng(0).normal(size=(60, 2))
    starts = np.array([20, 33, 50])
    window = torch.from_numpy(values[starts[:, None] + np.arange(-14, 0)])
    expected = naive_of_rows(values, starts, 9, season)
    np.testing.assert_allclose(SeasonalBase((season,), 14, 9).double()(window).detach(), expected)
    np.testing.assert_allclose(seasonal_naive(window, season, 9), expected)


def test_the_base_leaves_out_a_season_that_a_padded_window_does_not_reach():
    base = SeasonalBase((2, 8), 8, 4).double()
    window = torch.randn(1, 8, 1, dtype=torch.float64)
    observed = torch.tensor([False, False, True, True, True, True, True, True])[None, :, None]
    found = base(window, observed)[0, :, 0]
    # Steps 0 and 1 of season 8 were not observed, so that season 2 alone is repeated; then both count alike.
    torch.testing.assert_close(found[:2], window[0, 6:, 0])
    torch.testing.assert_close(found[2:], (window[0, 6:, 0] + window[0, 2:4, 0]) / 2)


# ---------------------------------------------------------------------- the linear map


def test_a_series_that_follows_a_recurrence_is_forecast_exactly():
    """y_t = 2 cos(w) y_(t-1) - y_(t-2) holds for every sinusoid, so a linear map of two values forecasts it."""
    steps = torch.arange(400, dtype=torch.float64)
    series = 3 * torch.sin(0.37 * steps + 1)
    windows = series.unfold(0, 18, 1)
    fitted = LinearMap(12, 6)
    fitted.fit(windows[:300, :12], windows[:300, 12:])
    assert fitted.fitted
    found = fitted(windows[300:, :12].float())
    torch.testing.assert_close(found.double(), windows[300:, 12:], atol=2e-3, rtol=0)


def test_ridge_is_the_minimum_of_its_objective():
    chance = torch.Generator().manual_seed(0)
    features, targets = (torch.randn(50, size, generator=chance, dtype=torch.float64) for size in (5, 2))
    strengths = torch.tensor([0.1, 1.0, 3.0, 10.0, 0.0], dtype=torch.float64)
    weight, bias = (part.requires_grad_() for part in ridge(features, targets, strengths))
    objective = (features @ weight + bias - targets).square().sum() + (strengths[:, None] * weight.square()).sum()
    for gradient in torch.autograd.grad(objective, (weight, bias)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)


def mean_season(series, season):
    return torch.from_numpy(decomposed(series.numpy(), season, multiplicative=False))


def seasonal_windows(rows=900, window=50, horizon=10):
    chance = np.random.default_rng(1)
    steps = np.arange(rows)
    signal = 10 * np.sin(2 * np.pi * steps / 50) + 5 * np.sin(2 * np.pi * steps / 25)
    series = torch.from_numpy(signal + chance.normal(size=rows))
    parts = series.unfold(0, window + horizon, 1)
    centre = parts[:, window - 1 : window]
    return series, (parts - centre)[:, :window], (parts - centre)[:, window:], torch.from_numpy(signal), centre


def test_the_position_in_the_season_is_read_off_the_window():
    series, windows, _, _, _ = seasonal_windows()
    fitted = LinearMap(50, 10, season=50)
    profile = mean_season(series[:700], 50)
    assert profile is not None
    fitted.profile.copy_(profile)
    expected = (torch.arange(len(windows)) + 50) % 50
    assert (fitted.place(windows.float()) == expected).float().mean() > 0.99


def test_harmonics_bring_a_noisy_season_nearer_to_what_its_noise_allows():
    series, windows, targets, signal, centre = seasonal_windows()
    plain, helped = LinearMap(50, 10), LinearMap(50, 10, season=50)
    plain.fit(windows[:640], targets[:640])
    helped.fit(windows[:640], targets[:640], mean_season(series[:700], 50))
    assert helped.profile.any(), "no harmonics were chosen"
    truth = signal.unfold(0, 10, 1)[50 : 50 + len(windows)] - centre
    errors = [float((fitted(windows[700:].float()) - truth[700:]).abs().mean()) for fitted in (plain, helped)]
    assert errors[1] < 0.8 * errors[0]


def test_a_series_without_a_season_takes_no_harmonics():
    series = torch.randn(600, generator=torch.Generator().manual_seed(3), dtype=torch.float64).cumsum(0)
    windows = series.unfold(0, 30, 1)
    windows = windows - windows[:, 23:24]
    fitted = LinearMap(24, 6, season=12)
    fitted.fit(windows[:, :24], windows[:, 24:], mean_season(series, 12))
    assert fitted.fitted
    assert not fitted.profile.any()


# ---------------------------------------------------------------------- units of the loss


def test_the_seasonal_error_is_the_mean_change_from_season_to_season():
    window = torch.tensor([1.0, 5.0, 2.0, 9.0, 4.0, 10.0])[None, :, None]
    assert seasonal_error(window, 2).item() == pytest.approx((1 + 4 + 2 + 1) / 4)
    observed = torch.tensor([False, False, True, True, True, True])[None, :, None]
    assert seasonal_error(window, 2, observed).item() == pytest.approx((2 + 1) / 2)


def test_a_flat_window_has_no_unit_and_weighs_nothing():
    flat = torch.full((1, 8, 1), 123.456)
    unit = seasonal_error(flat, 2)
    assert unit.item() == 0
    assert scaled_error(torch.ones(1, 3, 1), unit).abs().max() == 0


def test_the_relative_error_is_symmetric_and_at_most_2():
    one, other = torch.randn(2, 100)
    found = relative_error(one, other)
    torch.testing.assert_close(found, relative_error(other, one))
    assert found.max() <= 2
    assert relative_error(torch.zeros(1), torch.zeros(1)).item() == 0


# ---------------------------------------------------------------------- the whole


def test_series_of_any_unit_are_forecast_alike():
    """Multiplied by a constant, a positive series has its forecast multiplied: dollars or cents."""
    model = forecaster(PANEL, **AUTOMATIC)
    history = positive(5, 24)
    expected = model.predict(history)
    for factor in (1e-3, 100.0):
        np.testing.assert_allclose(model.predict(factor * history), factor * expected, rtol=1e-4)


def test_logarithms_forecast_positive_values_in_any_unit():
    model = forecaster(GROWING, **AUTOMATIC)
    history = 80 * positive(5, 24)
    expected = model.predict(history)
    assert expected.min() > 0
    np.testing.assert_allclose(model.predict(3 * history), 3 * expected, rtol=1e-4)


def test_what_follows_from_the_data_is_described():
    assert "standardised" in forecaster(PANEL, **AUTOMATIC).facts()[0]
    assert "logarithms" in forecaster(GROWING, **AUTOMATIC).facts()[0]


def test_the_more_data_shares_the_weights_the_less_is_dropped_and_the_larger_the_steps():
    three = DataSpec(input_size=3, targets=("a", "b", "c"), window=24, horizon=6, mean=(0.0,) * 3, std=(1.0,) * 3)
    models = [
        forecaster(spec, channels=channels, dropout=None, rate_factor=None)
        for spec, channels in [(GROWING, "separate"), (three, "joint"), (three, "separate"), (PANEL, "separate")]
    ]
    assert [model.dropout.p for model in models] == [0.5, 0.5, 0.1, 0.0]
    assert [model.rate_factor for model in models] == [1, 1, 2, 6]


SIGNED = DataSpec(input_size=1, targets=("v",), window=24, horizon=6, mean=(0.0,), std=(1.0,))


@pytest.mark.parametrize(("spec", "options"), [(SIGNED, {}), (GROWING, {"head": "gaussian"})])
def test_logarithms_are_rejected_where_there_are_none(spec, options):
    with pytest.raises(RequestError, match=r"model\.transform=log"):
        forecaster(spec, transform="log", **options)


@pytest.mark.parametrize("head", ["point", "quantile", "gaussian"])
@pytest.mark.parametrize("base", ["none", "season"])
def test_a_short_history_is_padded_and_its_padding_says_nothing(head, base):
    model = forecaster(PANEL, normalisation="mean_std", base=base, head=head)
    history = positive(3, 13)
    forecast = model.predict(history)
    assert np.isfinite(forecast).all()
    window = model.windows(history).float()
    assert window[:, :11].isnan().all()
    np.testing.assert_allclose(model.kind.point(model(window)).detach().numpy()[..., 0] * 3.0, forecast, rtol=1e-5)


@pytest.mark.parametrize("head", ["point", "quantile", "gaussian"])
def test_separate_channels_are_forecast_without_a_look_at_each_other(head):
    spec = DataSpec(input_size=3, targets=("a", "b", "c"), window=12, horizon=5, mean=(0.0,) * 3, std=(1.0,) * 3)
    model = forecaster(spec, channels="separate", head=head)
    inputs = torch.randn(4, 12, 3)
    order = [2, 0, 1]
    torch.testing.assert_close(model(inputs)[:, :, order], model(inputs[..., order]))
    changed = inputs.clone()
    changed[..., 0] += torch.randn(4, 12)
    torch.testing.assert_close(model(changed)[:, :, 1:], model(inputs)[:, :, 1:])
    assert (model(changed)[:, :, 0] - model(inputs)[:, :, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("loss", ["mase", "owa"])
@pytest.mark.parametrize("head", ["point", "quantile"])
def test_a_loss_in_units_of_each_window_does_not_depend_on_the_unit(loss, head):
    model = forecaster(PANEL, normalisation="mean_std", head=head, loss=loss)
    inputs = torch.from_numpy(positive(4, 24)).float().unsqueeze(-1)
    targets = torch.from_numpy(positive(4, 6, seed=1)).float().unsqueeze(-1)
    one = model.loss(model(inputs), Batch(inputs, targets))
    other = model.loss(model(50 * inputs), Batch(50 * inputs, 50 * targets))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=0)


def test_of_the_linear_forecast_only_the_location_is_taken():
    model = forecaster(GROWING, head="gaussian")
    forecast, line = torch.rand(2, 6, 1, 2), torch.rand(2, 6, 1)
    half = model.combined(forecast, line, 0.5)
    torch.testing.assert_close(half[..., 0], (forecast[..., 0] + line) / 2)
    torch.testing.assert_close(half[..., 1], forecast[..., 1])


def test_the_numbers_of_a_scaler_are_copied_once_and_fit_for_training_after_a_validation():
    model = forecaster(GROWING, **AUTOMATIC)
    window = ((torch.from_numpy(80 * positive(5, 24)).unsqueeze(-1) - GROWING.mean[0]) / GROWING.std[0]).float()
    with torch.inference_mode():
        kept = model.scaler(window)
        model.transformed(window)
    assert all(one is other for one, other in zip(kept, model.scaler(window), strict=True))
    read = window.clone().requires_grad_()
    model.restored(model.transformed(read)).sum().backward()
    torch.testing.assert_close(read.grad, torch.ones_like(read), rtol=1e-4, atol=1e-4)  # of an identity
    exact = model.scaler(window.double())[1]
    assert exact.tolist() == list(GROWING.std)
    assert not [name for name in model.state_dict() if "transform" in name or "scaler" in name]
