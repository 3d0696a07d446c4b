"""Windows, held against brute force: alignment, splits in order of time, what the scaler may know."""

import math

import numpy as np
import pytest
import torch

from cellstate.data.cutting import default_window
from cellstate.data.splitting import Series, split_borders
from cellstate.data.synthetic.seasonal import SeasonalData
from cellstate.data.windows import WindowedData
from cellstate.errors import RequestError


class Given(WindowedData):
    """Windows of a series that a test hands in."""

    def __init__(self, values, *, season=1, **parameters):
        super().__init__(**parameters)
        values = np.asarray(values, dtype=np.float64)
        self.given = values[:, None] if values.ndim == 1 else values
        self.given_season = season

    def series(self):
        names = tuple(f"column {number}" for number in range(self.given.shape[1]))
        return Series(self.given, names, self.given_season)


def noise(rows, columns=1, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def in_own_units(data, split):
    """All windows and targets of a split, unscaled, ``(M, window, C)`` and ``(M, horizon, C)``."""
    samples = data.prepared.splits[split]
    batch = samples.batch(torch.arange(len(samples)))
    mean, std = np.asarray(data.spec.mean), np.asarray(data.spec.std)
    return batch.inputs.double().numpy() * std + mean, batch.targets.double().numpy() * std + mean


@pytest.mark.parametrize("split", [(0.7, 0.1, 0.2), (0.5, 0.25, 0.1), (60, 20, 11), (40, 30, 0)])
@pytest.mark.parametrize(("window", "horizon", "columns"), [(5, 3, 2), (1, 1, 1), (12, 7, 3)])
def test_windows_and_targets_are_those_that_a_loop_finds(split, window, horizon, columns):
    values = noise(101, columns)
    data = Given(values, split=split, window=window, horizon=horizon, batch_size=4)
    scale = 101 if max(split) <= 1 else 1
    lower = 0.0
    for name, part in zip(("train", "val", "test"), split, strict=True):
        upper = lower + part * scale
        first, beyond = round(lower), round(upper)
        lower = upper
        if part == 0:
            assert name not in data.prepared.splits
            continue
        windows, targets = [], []
        for start in range(101):
            if start - window >= 0 and start >= first and start + horizon <= beyond:
                windows.append(values[start - window : start])
                targets.append(values[start : start + horizon])
        found = in_own_units(data, name)
        np.testing.assert_allclose(found[0], windows, atol=1e-5)
        np.testing.assert_allclose(found[1], targets, atol=1e-5)


def test_no_row_is_a_target_in_two_splits():
    # Every row is its own number, so that a target says which row it is.
    data = Given(np.arange(200.0), window=10, horizon=6, batch_size=4)
    rows = {name: set(np.rint(in_own_units(data, name)[1]).astype(int).ravel()) for name in data.prepared.splits}
    assert rows == {"train": set(range(10, 140)), "val": set(range(140, 160)), "test": set(range(160, 200))}
    seen = np.rint(in_own_units(data, "train")[0]).astype(int)
    assert seen.max() < 140


def test_the_first_inputs_of_a_split_reach_back_into_the_rows_before_it():
    data = Given(np.arange(200.0), window=10, horizon=6, batch_size=4)
    windows, targets = in_own_units(data, "test")
    np.testing.assert_allclose(windows[0, :, 0], np.arange(150, 160), atol=1e-3)
    np.testing.assert_allclose(targets[0, :, 0], np.arange(160, 166), atol=1e-3)


def test_nothing_after_the_training_rows_enters_the_specification():
    values = noise(200, 2)
    data = Given(values, window=10, horizon=6, season=7)
    altered = values.copy()
    altered[140:] = altered[140:] * 1000 + 5
    other = Given(altered, window=10, horizon=6, season=7)
    assert other.spec == data.spec
    np.testing.assert_allclose(data.spec.mean, values[:140].mean(axis=0))
    np.testing.assert_allclose(data.spec.std, np.sqrt(((values[:140] - values[:140].mean(axis=0)) ** 2).mean(axis=0)))
    naive = [np.mean([abs(values[row, c] - values[row - 7, c]) for row in range(7, 140)]) for c in range(2)]
    np.testing.assert_allclose(data.spec.naive_error, naive)
    altered[:140] += 1
    assert Given(altered, window=10, horizon=6, season=7).spec != data.spec


def test_training_windows_are_standardised():
    data = Given(noise(1000, 2) * [3, 0.01] + [100, -7], window=10, horizon=6)
    scaled = data.prepared.splits["train"].values
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(0), 1, atol=1e-3)


def test_a_series_far_from_zero_keeps_its_detail():
    signal = noise(300)
    near, far = Given(signal, window=10, horizon=5), Given(signal + 1e9, window=10, horizon=5)
    for split in ("train", "val", "test"):
        one, other = (data.prepared.splits[split].values.numpy() for data in (near, far))
        np.testing.assert_allclose(one, other, atol=1e-6)  # 1e9 in double precision is exact to 1.2e-7


def test_the_fingerprint_is_that_of_the_content():
    values = noise(200)
    base = Given(values, window=10, horizon=6).fingerprint
    assert Given(values, window=10, horizon=6).fingerprint == base
    altered = values.copy()
    altered[199] += 0.001
    others = [
        Given(altered, window=10, horizon=6),
        Given(values * 2, window=10, horizon=6),  # in another unit the z-scores are the same
        Given(values + 1, window=10, horizon=6),
        Given(values, window=9, horizon=6),
        Given(values, window=10, horizon=5),
    ]
    assert len({base, *(data.fingerprint for data in others)}) == 6


# ---------------------------------------------------------------------- splits


def test_a_split_is_given_as_shares_or_as_rows():
    assert split_borders(1000, (0.7, 0.1, 0.2)) == [0, 700, 800, 1000]
    assert split_borders(1000, (0.5, 0.25, 0.0)) == [0, 500, 750, 750]
    assert split_borders(1000, (600, 100, 50)) == [0, 600, 700, 750]
    assert split_borders(3, (1 / 3, 1 / 3, 1 / 3)) == [0, 1, 2, 3]
    for rows in range(20, 400):  # shares that sum to 1 leave no row out and give no row twice
        borders = split_borders(rows, (0.7, 0.1, 0.2))
        assert borders[-1] == rows
        assert borders == sorted(borders)


@pytest.mark.parametrize(
    "split", [(0.7, 0.2, 0.2), (0.0, 0.5, 0.5), (0.9, 0.0, 0.1), (-0.1, 0.5, 0.5), (600, 300, 200), (10.5, 3, 3)]
)
def test_a_split_that_makes_no_sense_is_refused(split):
    with pytest.raises(RequestError, match=r"data\.split="):
        split_borders(1000, split)


@pytest.mark.parametrize("split", [(0.95, 0.01, 0.04), (1e-9, 0.5, 0.5)])
def test_a_share_of_training_or_validation_that_rounds_to_no_row_is_refused(split):
    with pytest.raises(RequestError, match="too short"):
        _ = Given(noise(40), window=3, horizon=1, split=split, batch_size=1).prepared


@pytest.mark.parametrize("rows", [17, 30, 58])
def test_a_series_too_short_for_a_window_in_each_split_is_refused(rows):
    with pytest.raises(RequestError, match=f"it has {rows} rows"):
        _ = Given(noise(rows), window=12, horizon=6, batch_size=1).prepared


def test_the_shortest_series_that_fits_gives_a_window_in_each_split():
    data = Given(noise(59), window=12, horizon=6, batch_size=1)
    assert [len(data.prepared.splits[name]) for name in ("train", "val", "test")] == [41 - 18 + 1, 1, 12 - 6 + 1]


@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, 1e9 + 0.1])
def test_a_constant_column_is_refused_whatever_its_value(constant):
    # The standard deviation of a thousand times 0.1 is 1.4e-17 in double precision, and not 0.
    values = np.hstack([noise(1000), np.full((1000, 1), constant)])
    with pytest.raises(RequestError, match="'column 1' is constant"):
        _ = Given(values, window=10, horizon=5).prepared


# ---------------------------------------------------------------------- defaults


def test_the_window_is_14_seasons_within_a_fifth_of_the_training_rows():
    assert default_window(24, 24, 8640) == 14 * 24
    assert default_window(7, 7, 1000) == 98
    assert default_window(24, 24, 1000) == 8 * 24  # 200 rows hold 8 whole seasons
    assert default_window(24, 24, 130) == 24
    assert default_window(1, 12, 1000) == 48
    assert default_window(1, 12, 100) == 20
    assert default_window(1, 1, 2) == 1
    for season, horizon, rows in [(24, 24, 5000), (7, 30, 600), (12, 6, 100), (1, 3, 50), (52, 4, 300)]:
        window = default_window(season, horizon, rows)
        assert 1 <= window <= rows // 5
        assert window >= min(horizon, rows // 5)


def test_a_horizon_of_its_own_is_one_season():
    assert Given(noise(2000), season=24).spec.horizon == 24
    assert Given(noise(2000), season=24).spec.window == 11 * 24  # 280 rows hold eleven seasons
    assert Given(noise(2000)).spec.horizon == 12


def test_a_season_longer_than_the_training_rows_is_no_season():
    # A year of weeks: 42 rows train, and none of them has one a season before it.
    data = Given(noise(60), season=52, window=8, horizon=4, batch_size=4)
    assert data.spec.season == 1
    assert any("52" in fact for fact in data.prepared.facts)
    assert all(math.isfinite(value) for scores in data.reference_table().values() for value in scores.values())
    np.testing.assert_allclose(data.spec.naive_error, np.abs(np.diff(noise(60)[:42], axis=0)).mean())


def test_rows_in_no_split_are_told():
    assert any("the last 150 of 1,000 rows" in fact for fact in Given(noise(1000), split=(700, 100, 50)).prepared.facts)


# ---------------------------------------------------------------------- what stands beside the result


def test_the_floor_of_a_synthetic_series_is_the_score_of_its_signal():
    data = SeasonalData(length=600, noise=2.0, seed=5)
    _, targets = in_own_units(data, "test")
    from cellstate.data.synthetic.seasonal import seasonal_series

    drawn = seasonal_series(length=600, noise=2.0, seed=5)
    signal = np.stack([drawn.signal[start : start + 10] for start in range(480, 591)])[..., None]
    error = np.abs(signal - targets)
    realised = data.optimum_realised()
    assert realised["mae"] == pytest.approx(error.mean(), rel=1e-5)
    assert realised["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    std = data.spec.std[0]
    assert realised["mse_scaled"] == pytest.approx((error**2).mean() / std**2, rel=1e-5)
    assert realised["mae_scaled"] == pytest.approx(error.mean() / std, rel=1e-5)
    assert data.optimum()["mae"] == pytest.approx(2 * math.sqrt(2 / math.pi))
    assert data.optimum()["mse_scaled"] == pytest.approx(4 / std**2)


def test_no_reference_beats_the_signal_on_a_long_synthetic_series():
    data = SeasonalData(length=4000, noise=1.0, seed=1)
    table = data.reference_table()
    for metric in ("mae", "rmse", "mse"):
        floor = table[metric]["optimum_realised"]
        assert all(value > floor for name, value in table[metric].items() if not name.startswith("optimum"))


def test_references_score_the_validation_split_where_there_is_no_test_split():
    values = noise(300)
    data = Given(values, split=(200, 100, 0), window=10, horizon=5)
    assert data.reported_split == "val"
    error = [abs(values[start - 1, 0] - values[start + step, 0]) for start in range(200, 296) for step in range(5)]
    assert data.references()["mae"]["last_value"] == pytest.approx(np.mean(error))


def test_references_of_several_columns_are_means_over_them():
    values = noise(400, 2) * [1.0, 50.0]
    data = Given(values, window=10, horizon=5, season=4)
    both = data.references()
    alone = [Given(values[:, [column]], window=10, horizon=5, season=4).references() for column in (0, 1)]
    for metric in ("mae", "mse", "mae_scaled", "mse_scaled", "mase", "smape"):
        for name, value in both[metric].items():
            assert value == pytest.approx(np.mean([scores[metric][name] for scores in alone])), (metric, name)


def test_a_series_without_any_error_of_the_naive_forecast_has_no_mase():
    values = np.tile([1.0, 5.0, 2.0, 0.3], 100)
    data = Given(values, window=8, horizon=4, season=4)
    assert data.spec.naive_error == ()
    scores = data.references()
    assert "mase" not in scores
    assert scores["mae"]["seasonal_naive"] == 0
