"""A user's series: what is recognised, where it is split, and which numbers reach the network."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch

from cellstate.data.files.customary import recognise
from cellstate.data.files.series import SeriesData
from cellstate.data.synthetic.seasonal import SeasonalData
from cellstate.errors import RequestError

ETT_COLUMNS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")


def saved(folder, rows, columns=("value",), *, step=timedelta(hours=1), seed=0, name="series.csv"):
    values = np.random.default_rng(seed).normal(size=(rows, len(columns)))
    times = [datetime(2016, 7, 1) + number * step for number in range(rows)]
    frame = pl.DataFrame({"date": times, **{name: values[:, at] for at, name in enumerate(columns)}})
    frame.write_csv(folder / name)
    return str(folder / name), values


@pytest.fixture(scope="module")
def ett(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("ett"), 17_420, ETT_COLUMNS)


def test_ett_is_recognised_and_split_by_custom(ett):
    path, values = ett
    data = SeriesData(path=path, target="OT", horizon=24)
    spec, splits = data.spec, data.prepared.splits
    assert data.windows.borders[0].tolist() == [0, 8640, 11_520, 14_400]
    assert spec.season == 24
    assert spec.window == 336
    assert {name: len(samples) for name, samples in splits.items()} == {
        "train": 8640 - 336 - 24 + 1,
        "val": 2880 - 24 + 1,
        "test": 2857,
    }
    np.testing.assert_allclose(spec.mean, values[:8640, 6].mean())
    np.testing.assert_allclose(spec.std, values[:8640, 6].std())
    first = splits["test"].batch(torch.tensor([0]))
    scaled = (values[:, 6] - values[:8640, 6].mean()) / values[:8640, 6].std()
    np.testing.assert_allclose(first.inputs[0, :, 0], scaled[11_520 - 336 : 11_520], atol=1e-6)
    np.testing.assert_allclose(first.targets[0, :, 0], scaled[11_520 : 11_520 + 24], atol=1e-6)
    assert any("recognised as ETT, hourly" in fact for fact in data.prepared.facts)


def test_a_split_of_ones_own_goes_before_custom(ett):
    data = SeriesData(path=ett[0], target="OT", horizon=24, split=(0.7, 0.1, 0.2))
    _ = data.prepared
    assert data.windows.borders[0].tolist() == [0, 12_194, 13_936, 17_420]
    assert not any("recognised" in fact for fact in data.prepared.facts)


def test_only_the_exact_files_are_recognised():
    columns = {"date", *ETT_COLUMNS}
    assert recognise(columns, 17_420).split == (8640, 2880, 2880)
    assert recognise(columns, 69_680).split == (34_560, 11_520, 11_520)
    assert recognise(columns, 17_419) is None
    assert recognise(columns - {"OT"}, 17_420) is None


def test_several_targets_keep_their_order(tmp_path):
    path, values = saved(tmp_path, 500, ("a", "b", "c"))
    data = SeriesData(path=path, target=["c", "a"], window=24, horizon=6)
    assert data.spec.targets == ("c", "a")
    assert data.spec.input_size == 2
    np.testing.assert_allclose(data.spec.mean, values[:350, [2, 0]].mean(axis=0))
    batch = data.prepared.splits["train"].batch(torch.tensor([0]))
    expected = (values[:30, [2, 0]] - values[:350, [2, 0]].mean(0)) / values[:350, [2, 0]].std(0)
    np.testing.assert_allclose(torch.cat((batch.inputs, batch.targets), 1)[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "season"), [(timedelta(hours=1), 24), (timedelta(days=1), 7), (timedelta(minutes=15), 96)]
)
def test_the_season_comes_from_the_clock_unless_it_is_given(tmp_path, step, season):
    path, _ = saved(tmp_path, 2000, step=step)
    assert SeriesData(path=path).spec.season == season
    assert SeriesData(path=path).spec.horizon == season
    assert SeriesData(path=path, season=10).spec.season == 10


def test_a_file_without_times_has_no_season(tmp_path):
    (tmp_path / "plain.csv").write_text("v\n" + "\n".join(map(str, np.random.default_rng(0).normal(size=400))))
    data = SeriesData(path=str(tmp_path / "plain.csv"))
    assert (data.spec.season, data.spec.horizon) == (1, 12)


def test_gaps_are_refused_or_filled(tmp_path):
    path, values = saved(tmp_path, 500)
    frame = pl.read_csv(path)
    frame = pl.concat([frame[:100], frame[103:]])
    frame.write_csv(path)
    with pytest.raises(RequestError, match="line 102: a gap in the series"):
        _ = SeriesData(path=path, horizon=6).prepared
    data = SeriesData(path=path, horizon=6, window=24, missing="fill")
    filled = values[:, 0].copy()
    filled[100:103] = filled[99]
    np.testing.assert_allclose(data.series().values[:, 0], filled)


def test_without_a_file_it_is_the_synthetic_series():
    given, synthetic = SeriesData(seed=3), SeasonalData(seed=3)
    assert given.spec == synthetic.spec
    assert given.fingerprint == synthetic.fingerprint
    assert given.reference_table() == synthetic.reference_table()


def plain(folder, values, name="plain.csv", header="v"):
    (folder / name).write_text(header + "\n" + "\n".join(map(str, values)) + "\n")
    return str(folder / name)


def facts(data):
    return " | ".join(data.prepared.facts)


def test_without_a_clock_the_season_is_inferred_and_said(tmp_path):
    steps = np.arange(600)
    values = 5 * np.sin(2 * np.pi * steps / 12) + np.random.default_rng(0).normal(size=600)
    path = plain(tmp_path, values)
    data = SeriesData(path=path)
    assert (data.spec.season, data.spec.horizon) == (12, 12)
    assert "season 12 inferred from the training rows" in facts(data)
    assert "seasonal_naive" in data.references()["mae"]
    off = SeriesData(path=path, season=1)
    assert off.spec.season == 1
    assert "seasonal_naive" not in off.references()["mae"]
    assert "season" not in facts(off).replace("data.season", "")
    noise = SeriesData(path=plain(tmp_path, np.random.default_rng(1).normal(size=600)))
    assert noise.spec.season == 1
    assert "no season: neither the time column" in facts(noise)


def test_the_inferred_season_looks_at_the_training_rows_alone(tmp_path):
    values = np.random.default_rng(2).normal(size=800)
    values[560:] = np.tile([9.0, -9.0, 0.0, 4.0], 60)
    assert SeriesData(path=plain(tmp_path, values)).spec.season == 1


def test_a_column_that_might_be_the_time_is_offered(tmp_path):
    rows = [f"the {day}th day,{value}" for day, value in enumerate(np.random.default_rng(0).normal(size=200))]
    data = SeriesData(path=plain(tmp_path, rows, header="when,v"))
    assert "no time column recognised: if it is 'when' (the 0th day), set data.time=COLUMN" in facts(data)
    assert "no time column" not in facts(SeriesData(path=plain(tmp_path, range(200), name="other.csv")))


def test_dates_as_numbers_are_no_target(tmp_path):
    days = [(datetime(2022, 1, 1) + timedelta(days=day)).strftime("%Y%m%d") for day in range(200)]
    rows = [f"{day},{value}" for day, value in zip(days, np.random.default_rng(0).normal(size=200), strict=True)]
    data = SeriesData(path=plain(tmp_path, rows, header="when,v"))
    assert (data.spec.targets, data.spec.season) == (("v",), 7)


def test_a_drift_stands_beside_the_seasonal_naive_only_where_there_is_one(tmp_path):
    steps, noise = np.arange(1000), np.random.default_rng(3).normal(size=1000)
    for slope, there in ((0.0, False), (0.05, True), (-0.05, True)):
        path = plain(tmp_path, 5 * np.sin(2 * np.pi * steps / 20) + noise + slope * steps)
        assert ("seasonal_naive_drift" in SeriesData(path=path, season=20).references()["mae"]) == there


def test_a_split_too_short_is_told_to_take_more_rows(tmp_path):
    path = plain(tmp_path, np.random.default_rng(0).normal(size=100))
    with pytest.raises(RequestError, match=r"10 of them in the val split.*or a larger share of this split with data"):
        _ = SeriesData(path=path, window=10, horizon=12).prepared


def test_only_a_near_file_name_is_offered(tmp_path):
    for name in ("load.csv", "prices_2024.csv", "notes.txt"):
        (tmp_path / name).write_text("v\n1\n")
    for asked, expected in (
        ("prices2024.csv", "did you mean 'prices_2024.csv'?"),
        ("Load.txt", "did you mean 'load.csv'?"),
        ("wind.csv", "no such file; check the path"),
    ):
        with pytest.raises(RequestError) as refused:
            _ = SeriesData(path=str(tmp_path / asked)).prepared
        assert expected in str(refused.value)


def test_the_naive_forecast_of_each_season_is_a_reference(tmp_path):
    steps = np.arange(300)
    weekly = np.tile(np.random.default_rng(0).normal(size=42), 8)[:300]  # repeats after 42 steps, and not after 6
    lines = [f"{value}" for value in weekly + np.sin(2 * np.pi * steps / 6)]
    (tmp_path / "weeks.csv").write_text("y\n" + "\n".join(lines) + "\n")
    data = SeriesData(path=str(tmp_path / "weeks.csv"), season=[6, 42], window=60, horizon=20, split=[180, 40, 80])
    scores = data.reference_table()["mae"]
    assert scores["seasonal_naive_42"] == pytest.approx(0, abs=1e-12)
    assert scores["seasonal_naive"] > 0.5
