"""Scores of panels: held against loops, and Naive2 against the M4 competition's R code written out."""

import numpy as np
import pytest

from cellstate.data.naive2 import decomposed, is_seasonal, seasonal_indices
from cellstate.data.splitting import Series
from cellstate.data.windows import WindowedData


class Panel(WindowedData):
    """Series that a test hands in, columns last."""

    def __init__(self, series, *, season=4, named=True, **parameters):
        super().__init__(batch_size=1, **parameters)
        self.given, self.given_season, self.named = series, season, named

    def series(self):
        names = tuple(f"c{number}" for number in range(self.given[0].shape[1]))
        ids = tuple(f"s{number}" for number in range(len(self.given))) if self.named else ()
        lengths = tuple(map(len, self.given)) if self.named else ()
        return Series(np.concatenate(self.given), names, self.given_season, ids=ids, lengths=lengths)


class Forecasts:
    """Forecasts and truth, as a model's scores hold them."""

    def __init__(self, forecasts, truth):
        self.forecasts, self.truth = forecasts, truth

    def joined(self):
        return self.forecasts, self.truth


def seasonal_series(rows, seed, level=50.0, columns=1, season=4):
    random = np.random.default_rng(seed)
    wave = np.sin(2 * np.pi * np.arange(rows) / season)[:, None]
    return level * (1 + 0.3 * wave) * np.exp(0.05 * random.normal(size=(rows, columns)))


def panel(columns=1, **options):
    series = [seasonal_series(rows, rows, level, columns) for rows, level in ((60, 5), (90, 1000), (75, 40))]
    return Panel(series, window=8, horizon=3, **{"split": {"val": 5, "test": 6}, **options})


def truth_of(data, split):
    starts = data.windows.starts(split)
    return data.whole_series.values[starts[:, None] + np.arange(data.spec.horizon)]


# ---------------------------------------------------------------------- Naive2


def naive2_by_hand(history, season, horizon):
    """The benchmark of M4, as its R code computes it: acf, decompose(type = "multiplicative") and naive."""
    size = len(history)
    seasonal = False
    if size >= 3 * season:
        centred = history - history.mean()
        r = [
            sum(centred[t] * centred[t + lag] for t in range(size - lag)) / sum(centred**2) for lag in range(season + 1)
        ]
        limit = 1.645 / np.sqrt(size) * np.sqrt(1 + 2 * sum(value**2 for value in r[1:]))
        seasonal = abs(r[season]) > limit
    if not seasonal:
        return np.full(horizon, history[-1])
    half, ratios = season // 2, [[] for _ in range(season)]
    for t in range(half, size - half):
        ends = [history[t - half] / 2, history[t + half] / 2] if season % 2 == 0 else []
        inner = history[t - half + (season % 2 == 0) : t + half + 1 - (season % 2 == 0)]
        ratios[t % season].append(history[t] / ((sum(inner) + sum(ends)) / season))
    figure = np.array([np.mean(values) for values in ratios])
    figure /= figure.mean()
    return np.array(
        [history[-1] / figure[(size - 1) % season] * figure[(size + step) % season] for step in range(horizon)]
    )


@pytest.mark.parametrize("season", [4, 5, 12])
@pytest.mark.parametrize("seed", range(3))
def test_naive2_is_that_of_the_competition(season, seed):
    wave = seasonal_series(70 + seed, seed, season=season)
    flat = 10 + np.random.default_rng(seed).normal(size=(70, 1))
    for history in (wave, flat):
        indices = seasonal_indices([history], season)
        found = indices.forecast(history[-1:], np.array([0]), np.array([len(history)]), 2 * season + 1)
        np.testing.assert_allclose(found[0, :, 0], naive2_by_hand(history[:, 0], season, 2 * season + 1))


def test_seasonality_needs_three_seasons_and_a_correlation_beyond_chance():
    wave = np.tile([1.0, 5, 2, 8], 10)
    assert is_seasonal(wave, 4)
    assert not is_seasonal(wave[:11], 4)
    assert not is_seasonal(np.ones(40), 4)
    rejected = sum(is_seasonal(np.random.default_rng(seed).normal(size=200), 4) for seed in range(400))
    assert 15 < rejected < 65  # a test at 90 %


def test_indices_of_a_pure_season_are_its_pattern_whatever_the_trend():
    pattern, rows = np.array([1.2, 0.8, 0.7, 1.3]), np.arange(80)
    np.testing.assert_allclose(decomposed(100 * np.tile(pattern, 20), 4, multiplicative=True), pattern)
    additive = decomposed(3.0 * rows + np.tile([5, -5, 2, -2], 20), 4, multiplicative=False)
    np.testing.assert_allclose(additive, [5, -5, 2, -2], atol=1e-9)


def test_series_with_negative_values_are_adjusted_additively():
    values = (3.0 * np.tile([1.0, -1, 2, -2], 20))[:, None]
    indices = seasonal_indices([values], 4)
    found = indices.forecast(values[-1:], np.array([0]), np.array([80]), 6)[0, :, 0]
    np.testing.assert_allclose(found, [3, -3, 6, -6, 3, -3], atol=1e-9)


def test_rolling_origins_use_the_indices_before_the_split_and_the_newest_value():
    data = panel()
    found = data.reference_forecasts("test")["naive2"]()
    for place, (owner, row) in enumerate(zip(data.windows.owners("test"), data.windows.rows("test"), strict=True)):
        values, border = data.given[owner][:, 0], data.windows.borders[owner, 2]
        if row == border:  # the first forecast of a series: exactly that of the competition
            np.testing.assert_allclose(found[place, :, 0], naive2_by_hand(values[:row], 4, 3))
        else:
            indices = seasonal_indices([values[:border, None]], 4).factors[0, :, 0]
            level = values[row - 1] / indices[(row - 1) % 4]
            np.testing.assert_allclose(found[place, :, 0], level * indices[(row + np.arange(3)) % 4])


# ---------------------------------------------------------------------- means over series


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("split", ["val", "test"])
def test_scores_are_means_over_series_each_in_units_of_its_own(columns, split):
    data = panel(columns)
    truth = truth_of(data, split)
    forecasts = truth * (1 + 0.1 * np.random.default_rng(1).normal(size=truth.shape))
    smape, mase = [], []
    for number, values in enumerate(data.given):
        own = data.windows.owners(split) == number
        history = values[: data.windows.borders[number, 1 if split == "val" else 2]]
        scale = np.abs(history[4:] - history[:-4]).mean(axis=0)
        error = np.abs(forecasts[own] - truth[own])
        smape.append((200 * error / (np.abs(forecasts[own]) + np.abs(truth[own]))).mean())
        mase.append((error / scale).mean())
    found = data.panel_scores(split, Forecasts(forecasts, truth))
    assert found["smape"] == pytest.approx(np.mean(smape))
    assert found["mase"] == pytest.approx(np.mean(mase))
    assert found["mase_pooled"] == pytest.approx((np.abs(forecasts - truth) / data.spec.naive_error).mean())
    naive2 = data.panel_scores(split, Forecasts(data.reference_forecasts(split)["naive2"](), truth))
    assert naive2["owa"] == 1
    assert found["owa"] == pytest.approx((found["smape"] / naive2["smape"] + found["mase"] / naive2["mase"]) / 2)


def test_scores_do_not_depend_on_what_was_scored_before():
    one, two = panel(), panel()
    truth = truth_of(one, "test")
    rounded = Forecasts(truth.astype(np.float32) + 1, truth.astype(np.float32))  # as the scores of a model hold it
    _ = one.references()
    assert one.panel_scores("test", rounded) == two.panel_scores("test", rounded)
    assert one.references() == two.references()


def test_some_windows_are_scored_by_themselves():
    data = panel()
    truth = truth_of(data, "test")
    naive2 = data.reference_forecasts("test")["naive2"]()
    chosen = np.array([1, 5, 6])
    assert data.panel_scores("test", Forecasts(naive2[chosen], truth[chosen]), chosen)["owa"] == 1
    assert data.panel_scores("test", Forecasts(naive2[:2], truth[:2]))["owa"] == 1
    own = data.windows.owners("test")[chosen]
    assert set(own) == {0, 1}
    found = data.panel_scores("test", Forecasts(truth[chosen] * 1.1, truth[chosen]), chosen)
    assert found["smape"] == pytest.approx(200 * 0.1 / 2.1)


def test_a_series_that_repeats_exactly_is_left_out_of_mase():
    still = np.tile([[1.0], [2], [3], [4]], (20, 1))
    data = Panel([still, seasonal_series(60, 0)], window=8, horizon=3, split={"val": 5, "test": 6})
    alone = Panel([seasonal_series(60, 0)] * 2, window=8, horizon=3, split={"val": 5, "test": 6})
    scores = [
        each.panel_scores("test", Forecasts(truth_of(each, "test") + 1, truth_of(each, "test")))
        for each in (data, alone)
    ]
    assert scores[0]["mase"] == pytest.approx(scores[1]["mase"])
    assert any("1 series (s0) never changes from season to season" in fact for fact in data.prepared.facts)


def test_one_series_keeps_its_mase_and_gets_owa():
    data = Panel([seasonal_series(100, 0)], window=8, horizon=3, named=False)
    truth = truth_of(data, "test")
    found = data.panel_scores("test", Forecasts(truth + 1, truth))
    assert set(found) == {"owa"}
    references = data.references()
    assert references["owa"]["naive2"] == 1
    training = data.given[0][:70]
    scale = np.abs(training[4:] - training[:-4]).mean()
    smape, mase = (200 / (2 * truth + 1)).mean(), 1 / scale
    expected = (smape / references["smape"]["naive2"] + mase / references["mase"]["naive2"]) / 2
    assert found["owa"] == pytest.approx(expected)


def test_references_have_all_metrics_that_a_forecast_has():
    references = panel().references()
    assert {"smape", "mase", "owa", "mase_pooled", "mae"} <= set(references)
    names = {"naive2", "last_value", "seasonal_naive", "drift", "ridge_linear"}
    assert all(names <= set(values) for values in references.values())


def test_drift_continues_the_line_through_the_first_and_the_last_value():
    data = panel()
    found = data.reference_forecasts("test")["drift"]()
    for place, (owner, row) in enumerate(zip(data.windows.owners("test"), data.windows.rows("test"), strict=True)):
        values = data.given[owner][:, 0]
        slope = (values[row - 1] - values[0]) / (row - 1)
        np.testing.assert_allclose(found[place, :, 0], values[row - 1] + slope * np.arange(1, 4))


def test_a_linear_map_of_standardised_windows_serves_every_level():
    # Each series is the same curve in another unit: one map of standardised windows forecasts all equally well.
    curve = seasonal_series(120, 3)
    data = Panel([curve, 1e4 * curve, 1e-3 * curve + 5], window=30, horizon=3)
    assert data.spec.levels_differ
    truth, forecasts = truth_of(data, "test"), data.reference_forecasts("test")["ridge_linear"]()
    errors = [np.abs(forecasts - truth)[data.windows.owners("test") == number].mean() for number in range(3)]
    assert errors == pytest.approx([errors[0], 1e4 * errors[0], 1e-3 * errors[0]], rel=1e-6)
