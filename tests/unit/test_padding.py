"""Windows that begin before their series, held against a loop; default splits and windows of several short series."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cellstate.data.cutting import padded_window
from cellstate.data.splitting import Series, borders_from_end
from cellstate.data.windows import WindowedData
from cellstate.errors import RequestError


class Panel(WindowedData):
    """Series that a test hands in, with a covariate of each kind if asked."""

    def __init__(self, series, *, season=4, covariates=False, **parameters):
        super().__init__(batch_size=1, **parameters)
        self.given, self.given_season, self.with_covariates = series, season, covariates

    def series(self):
        values = np.concatenate(self.given)[:, None]
        covariates = np.hstack([values * 2, values * 3]) if self.with_covariates else None
        names = (("past",), ("known",)) if self.with_covariates else ((), ())
        ids = tuple(f"s{number}" for number in range(len(self.given)))
        lengths = tuple(map(len, self.given))
        series = Series(values, ("y",), self.given_season, ids=ids, lengths=lengths, covariates=covariates)
        return replace(series, past=names[0], known=names[1])


def drawn(*sizes, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(3, 1, rows) for rows in sizes]


def batch_of(data, split):
    samples = data.prepared.splits[split]
    return samples.batch(torch.arange(len(samples)))


@pytest.mark.parametrize("window", [3, 10, 40])
@pytest.mark.parametrize("season", [1, 4, 9])
def test_windows_are_those_of_a_loop_with_nan_before_the_series(window, season):
    series, horizon = drawn(40, 27, 60), 3
    data = Panel(series, season=season, covariates=True, window=window, horizon=horizon, split={"val": 5, "test": 6})
    spec, least = data.spec, min(window, max(season, 2))
    for at, split in enumerate(("train", "val", "test")):
        inputs, targets = [], []
        for values in series:
            low, high = borders_from_end(len(values), 5, 6)[at : at + 2]
            full = split == "train" and high - horizon - window + 1 >= horizon  # windows enough without padding
            for start in range(max(low, window if full else least), high - horizon + 1):
                step = np.arange(start - window, start)
                known = values[np.maximum(step, 0) + horizon] * 3
                columns = np.stack([values[np.maximum(step, 0)], values[np.maximum(step, 0)] * 2, known], axis=1)
                columns[step < 0] = np.nan
                inputs.append(columns)
                targets.append(values[start : start + horizon])
        batch = batch_of(data, split)
        mean, std = np.asarray(spec.input_mean), np.asarray(spec.input_std)
        np.testing.assert_allclose(batch.inputs.double().numpy() * std + mean, inputs, atol=1e-4)
        np.testing.assert_allclose(batch.targets[..., 0].double().numpy() * spec.std + spec.mean, targets, atol=1e-4)
    assert spec.padded == (window > least)


def test_a_window_without_padding_says_nothing_of_it():
    data = Panel(drawn(60, 50), window=10, horizon=3, short="error")
    assert not data.spec.padded
    assert not any("padded" in fact for fact in data.prepared.facts)
    assert not any(torch.isnan(batch_of(data, split).inputs).any() for split in ("train", "val", "test"))


def test_padding_reveals_nothing_of_another_series_or_a_later_split():
    series = drawn(40, 30)
    data = Panel(series, window=20, horizon=3)
    altered = [series[0] * 9 + 5, series[1].copy()]
    altered[1][data.windows.borders[1, 1] :] += 3
    other = Panel(altered, window=20, horizon=3)
    own = data.windows.owners("train") == 1
    one, two = (
        batch_of(each, "train").inputs.double()[own] * each.spec.std[0] + each.spec.mean[0] for each in (data, other)
    )
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0, equal_nan=True)


def test_the_fingerprint_knows_where_series_begin():
    whole = drawn(60)[0]
    one, two = (
        Panel([whole[:cut], whole[cut:]], window=10, horizon=2, split={"val": 4, "test": 4}) for cut in (25, 35)
    )
    assert one.fingerprint != two.fingerprint


@pytest.mark.parametrize("short", [None, "pad", "skip"])
def test_series_too_short_even_so_are_named_or_left_out(short):
    series = drawn(60, 9, 50)
    data = Panel(series, window=10, horizon=3, short=short)
    if short == "pad":
        with pytest.raises(RequestError, match=r"series 's1' is too short: .* needs 7 \(4 before the forecast plus"):
            _ = data.prepared
        return
    assert data.whole_series.ids == ("s0", "s2")
    # A season of 4 rows to pad, then 3 rows each for validation and test: 10, and it has 9.
    left_out = "1 series ignored, too short for a sample in each split: s1 (by 1 row)"
    assert left_out in data.prepared.facts
    long_enough = Panel(drawn(60, 10, 50), window=10, horizon=3, short=short)
    assert len(long_enough.whole_series.ids) == 3


def test_a_split_of_more_rows_than_there_are_is_told_as_such():
    counted = Panel(drawn(60, 50), window=10, horizon=3, split={"val": 4, "test": 56})
    with pytest.raises(
        RequestError, match=r"^data.split={val: 4, test: 56}: asks for 60 of 60 rows, which leaves none"
    ):
        _ = counted.prepared


def test_a_series_too_short_to_train_on_is_forecast_all_the_same():
    data = Panel(drawn(60, 12), window=10, horizon=3)  # 12 - 2 * 3 rows train: a season, but no forecast after it
    assert np.bincount(data.windows.owners("train"), minlength=2)[1] == 0
    assert all((data.windows.owners(split) == 1).any() for split in ("val", "test"))


def test_shares_split_several_series_where_all_have_a_sample_and_else_the_last_rows_do():
    long, short = Panel(drawn(100, 60), window=8, horizon=4), Panel(drawn(100, 30), window=8, horizon=4)
    assert long.windows.borders.tolist() == [[0, 70, 80, 100], [0, 42, 48, 60]]
    assert short.windows.borders.tolist() == [[0, 92, 96, 100], [0, 22, 26, 30]]
    assert any("data.split={val: 4, test: 4}" in fact for fact in short.prepared.facts)


def test_a_split_counts_from_the_end_of_each_series():
    data = Panel(drawn(100, 60), window=8, horizon=4, split={"val": 10, "test": 20})
    assert data.windows.borders.tolist() == [[0, 70, 80, 100], [0, 30, 40, 60]]
    untested = Panel(drawn(100, 60), window=8, horizon=4, split={"val": 10})
    assert tuple(untested.prepared.splits) == ("train", "val")
    for split in ({"test": 20}, {"val": 0, "test": 20}, {"validation": 3}):
        with pytest.raises(RequestError, match=r"data\.split=\{.*such as \{val: 48, test: 48\}"):
            _ = Panel(drawn(100, 60), window=8, horizon=4, split=split).prepared


def test_the_window_of_several_series_is_14_seasons_and_shorter_ones_are_padded():
    assert padded_window(24, 48, 912) == 14 * 24
    assert padded_window(24, 48, 300) == 8 * 24  # 204 rows before two horizons
    assert padded_window(24, 48, 100) == 24
    assert padded_window(1, 6, 23) == 11
    assert padded_window(1, 6, 100) == 24
    data = Panel(drawn(200, 200, 40), horizon=4)
    assert data.spec.window == 14 * 4
    assert data.spec.padded
