"""The last window of each series in a user's file, whatever the layout of the file."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from cellstate.data.batch import DataSpec
from cellstate.data.files.layouts import SeriesFormat
from cellstate.data.files.series_end import series_ends
from cellstate.errors import RequestError

SERIES = {"a": np.arange(12.0) ** 2, "b": 100 - np.arange(7.0), "c": np.sin(np.arange(30.0))}


def spec_of(**changes):
    options = {"targets": ("value",), "window": 10, "horizon": 2, "season": 4, "seasons": (4,), "padded": True}
    return DataSpec(mean=(0.0,), std=(1.0,), **{**options, **changes})


def file_of(folder, layout):
    path = folder / f"{layout}.csv"
    longest = max(map(len, SERIES.values()))
    days = [datetime(2024, 1, 1) + timedelta(days=day) for day in range(longest)]
    if layout == "rows":
        lines = [",".join(["id", *(f"V{number}" for number in range(longest))])]
        lines += [
            ",".join([name, *map(repr, values.tolist())]) + "," * (longest - len(values))
            for name, values in SERIES.items()
        ]
        path.write_text("\n".join(lines))
    elif layout == "columns":
        columns = {name: [*values.tolist(), *[None] * (longest - len(values))] for name, values in SERIES.items()}
        pl.DataFrame({"day": days, **columns}).write_csv(path)
    else:
        parts = [
            pl.DataFrame({"id": [name] * len(values), "day": days[: len(values)], "value": values})
            for name, values in SERIES.items()
        ]
        pl.concat(parts).write_csv(path)
    return str(path)


@pytest.mark.parametrize("layout", ["rows", "columns", "long"])
def test_every_layout_gives_the_last_window_padded_in_front(tmp_path, layout):
    form = SeriesFormat(id="id") if layout == "long" else SeriesFormat()
    found = list(series_ends(form, spec_of(), file_of(tmp_path, layout)))
    assert [end.key for end in found] == [("id", name) for name in SERIES]
    for end, values in zip(found, SERIES.values(), strict=True):
        expected = np.full((10, 1), np.nan)
        expected[-min(10, len(values)) :, 0] = values[-10:]
        np.testing.assert_array_equal(end.window, expected)
        if layout == "rows":
            assert end.when.to_list() == [1, 2]
        else:
            assert end.when.to_list()[0] == (datetime(2024, 1, 1) + timedelta(days=len(values))).date()


def test_a_model_without_padding_takes_no_series_shorter_than_its_window(tmp_path):
    for layout in ("rows", "columns"):
        with pytest.raises(RequestError, match=r"7 rows of series 'b' are too few: the model needs windows of 10"):
            _ = list(series_ends(SeriesFormat(), spec_of(padded=False), file_of(tmp_path, layout)))
    with pytest.raises(RequestError, match=r"7 rows of series 'b' are too few: the model needs at least 8"):
        _ = list(series_ends(SeriesFormat(), spec_of(season=8, seasons=(8,)), file_of(tmp_path, "rows")))


def test_a_model_of_columns_takes_a_file_of_one_column(tmp_path):
    pl.DataFrame({"sales": SERIES["c"]}).write_csv(tmp_path / "one.csv")
    (end,) = series_ends(SeriesFormat(), spec_of(), str(tmp_path / "one.csv"))
    assert end.key == ("id", "sales")
    np.testing.assert_array_equal(end.window[:, 0], SERIES["c"][-10:])


def test_a_model_of_a_target_takes_it_from_a_file_of_several_columns(tmp_path):
    pl.DataFrame({"kwh": SERIES["c"], "price": SERIES["c"] + 1}).write_csv(tmp_path / "two.csv")
    (end,) = series_ends(SeriesFormat(), spec_of(targets=("kwh",)), str(tmp_path / "two.csv"))
    assert end.key is None
    np.testing.assert_array_equal(end.window[:, 0], SERIES["c"][-10:])
