"""Several series in one file: every one by itself, held against a loop over them."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch

from cellstate.data.files.series import SeriesData
from cellstate.data.splitting import split_borders
from cellstate.errors import RequestError

WINDOW, HORIZON = 10, 4
SIZES = {"north": 120, "south": 200, "7": 90}


def saved(folder, name="shops.csv", sizes=SIZES, order="shuffled", apart=1000.0, **changes):
    """A long table whose series differ in level; each value says which series and row it is."""
    parts = []
    for number, (shop, rows) in enumerate(sizes.items()):
        values = apart * number + np.random.default_rng(number).normal(size=rows)
        times = [datetime(2024, 1, 1) + timedelta(days=day) for day in range(rows)]
        parts.append(pl.DataFrame({"shop": [shop] * rows, "day": times, "sales": changes.get(shop, values)}))
    frame = pl.concat(parts)
    if order == "shuffled":
        frame = frame.sort("day")  # series take turns
    path = str(folder / name)
    frame.write_csv(path) if name.endswith("csv") else frame.write_parquet(path)
    return path, {shop: part["sales"].to_numpy() for shop, part in zip(sizes, parts, strict=True)}


def forecast_data(path, **options):
    options = {"target": "sales", "id": "shop", "window": WINDOW, "horizon": HORIZON, "short": "error", **options}
    return SeriesData(path=path, batch_size=8, **options)


def borders(rows, split=None):
    return split_borders(rows, split or (0.7, 0.1, 0.2))


def by_hand(series, whole, split):
    """Windows of one split in the order of the series, by a loop."""
    windows, targets = [], []
    for values in series.values():
        first, stop = borders(len(values), whole)[split : split + 2]
        for start in range(len(values)):
            if start >= WINDOW and start >= first and start + HORIZON <= stop:
                windows.append(values[start - WINDOW : start])
                targets.append(values[start : start + HORIZON])
    return np.array(windows), np.array(targets)


def in_own_units(data, split):
    samples = data.prepared.splits[split]
    batch = samples.batch(torch.arange(len(samples)))
    mean, std = np.asarray(data.spec.mean), np.asarray(data.spec.std)
    return (batch.inputs.double().numpy() * std + mean)[..., 0], (batch.targets.double().numpy() * std + mean)[..., 0]


@pytest.mark.parametrize("name", ["shops.csv", "shops.parquet"])
@pytest.mark.parametrize("order", ["shuffled", "one after the other"])
@pytest.mark.parametrize("split", [None, (0.5, 0.3, 0.1), (60, 14, 16), (0.8, 0.2, 0)])
def test_windows_are_those_of_a_loop_over_the_series(tmp_path, name, order, split):
    path, series = saved(tmp_path, name, order=order)
    data = forecast_data(path, split=split)
    for at, part in enumerate(data.prepared.splits):
        expected = by_hand(series, split, at)
        found = in_own_units(data, part)
        assert len(expected[0]) == len(found[0]) > 0
        for one, other in zip(expected, found, strict=True):
            # 2000 in units of a deviation near 1, in single precision
            order_of_rows = [np.lexsort(rows.T) for rows in (one, other)]
            np.testing.assert_allclose(one[order_of_rows[0]], other[order_of_rows[1]], atol=1e-3)


def test_no_window_reaches_into_another_series_or_a_later_split(tmp_path):
    path, _ = saved(tmp_path)
    data = forecast_data(path)
    for part in data.prepared.splits:
        windows, targets = in_own_units(data, part)
        levels = np.rint(np.hstack([windows, targets]) / 1000)
        assert (levels == levels[:, :1]).all()
    changed = {shop: values.copy() for shop, values in saved(tmp_path)[1].items()}
    for values in changed.values():
        values[borders(len(values))[1] :] = 77
    later, _ = saved(tmp_path, "later.csv", **changed)
    other = forecast_data(later)
    assert other.spec == data.spec
    for one, two in zip(
        (data.prepared.splits["train"].values, data.prepared.splits["train"].starts),
        (other.prepared.splits["train"].values, other.prepared.splits["train"].starts),
        strict=True,
    ):
        assert torch.equal(one, two)


@pytest.mark.parametrize("apart", [0.0, 0.3, 1000.0])
def test_the_scaler_is_the_deviation_within_the_series_and_centres_them_unless_their_levels_differ(tmp_path, apart):
    path, series = saved(tmp_path, apart=apart)
    data = forecast_data(path)
    training = [values[: borders(len(values))[1]] for values in series.values()]
    within = np.concatenate([values - values.mean() for values in training])
    assert data.spec.std[0] == pytest.approx(np.sqrt((within**2).mean()))
    assert data.spec.std[0] < 1.2  # while the levels lie a thousand apart
    assert data.spec.levels_differ == (apart == 1000)
    mean = 0 if data.spec.levels_differ else np.concatenate(training).mean()
    assert data.spec.mean[0] == pytest.approx(mean)
    season = data.spec.season
    assert season == 7
    steps = np.concatenate([np.abs(values[season:] - values[:-season]) for values in training])
    assert data.spec.naive_error[0] == pytest.approx(steps.mean())


def test_one_series_with_an_id_is_that_series(tmp_path):
    path, _ = saved(tmp_path, sizes={"only": 200})
    one, plain = forecast_data(path), forecast_data(path, id=None)
    assert one.spec == plain.spec
    assert one.fingerprint == plain.fingerprint
    for metric, scores in one.references().items():
        assert scores == pytest.approx(plain.references()[metric])


def test_references_are_those_of_the_series_one_by_one(tmp_path):
    path, series = saved(tmp_path)
    data = forecast_data(path)
    errors = {"last_value": [], "seasonal_naive": []}
    for values in series.values():
        first = borders(len(values))[2]
        for start in range(first, len(values) - HORIZON + 1):
            truth = values[start : start + HORIZON]
            errors["last_value"].append(np.abs(truth - values[start - 1]))
            errors["seasonal_naive"].append(np.abs(truth - values[start - 7 : start - 7 + HORIZON]))
    for name, found in errors.items():
        assert data.references()["mae"][name] == pytest.approx(np.mean(found))
    assert data.references()["mae"]["ridge_linear"] < data.references()["mae"]["last_value"]


def test_a_series_too_short_is_named_or_left_out(tmp_path):
    path, _ = saved(tmp_path, sizes={**SIZES, "tiny": 12, "small": 14})
    with pytest.raises(
        RequestError, match=r"series 'tiny' is too short: it has 12 rows, 8 of them in the train split"
    ) as refused:
        _ = forecast_data(path).prepared
    assert "data.short=skip (1 more of 5 are too short)" in str(refused.value)
    whole = forecast_data(saved(tmp_path, "others.csv")[0], short="pad")
    kept = forecast_data(path, short="skip")
    assert kept.spec == whole.spec
    assert kept.fingerprint == whole.fingerprint
    assert any("2 series ignored" in fact and "tiny (by" in fact for fact in kept.prepared.facts)
    with pytest.raises(RequestError, match=r"data\.split="):
        _ = forecast_data(path, split=(60, 14, 16)).prepared


def test_gaps_and_times_that_stand_twice_are_named_by_line_and_series(tmp_path):
    path, _ = saved(tmp_path, order="one after the other")
    lines = (tmp_path / "shops.csv").read_text().splitlines()

    def refused(changed):
        (tmp_path / "broken.csv").write_text("\n".join(changed))
        with pytest.raises(RequestError) as problem:
            _ = forecast_data(str(tmp_path / "broken.csv")).prepared
        return str(problem.value)

    assert "line 151: a gap in the series of series 'south'" in refused([*lines[:150], *lines[152:]])
    assert "line 152: the time 2024-01-30 00:00:00 occurs twice in series 'south'" in refused(
        [*lines[:151], *lines[150:]]
    )
    assert "line 151: column 'sales' is empty" in refused([*lines[:150], "south,2024-01-30,", *lines[151:]])
    assert "line 151: column 'shop' (data.id) has no id" in refused([*lines[:150], ",2024-01-30,1", *lines[151:]])
    with pytest.raises(RequestError, match=r"comes after.*data\.id=COLUMN"):
        _ = forecast_data(path, id=None, target="sales").prepared


def test_series_of_different_steps_are_refused(tmp_path):
    frame = pl.concat([
        pl.DataFrame({"shop": ["a"] * 90, "t": [datetime(2024, 1, 1) + n * timedelta(days=1) for n in range(90)]}),
        pl.DataFrame({"shop": ["b"] * 90, "t": [datetime(2024, 1, 1) + n * timedelta(hours=1) for n in range(90)]}),
    ]).with_columns(sales=np.random.default_rng(0).normal(size=180))  # fmt: skip
    frame.write_parquet(tmp_path / "mixed.parquet")
    with pytest.raises(RequestError, match="series 'b' has one row per hour, but series 'a' one per day"):
        _ = forecast_data(str(tmp_path / "mixed.parquet")).prepared
