"""Wide tables: held against the same series in long format; what is recognised, and what is rejected."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch

from cellstate.data.files.series import SeriesData
from cellstate.errors import RequestError

SIZES = {"a1": 90, "b": 60, "c": 75}


def drawn(sizes=SIZES):
    return {name: np.random.default_rng(len(name) + rows).normal(50, 9, rows) for name, rows in sizes.items()}


def as_rows(path, series, empty=""):
    width = max(map(len, series.values()))
    lines = [",".join(["id", *(f"V{number}" for number in range(1, width + 1))])]
    for name, values in series.items():
        lines.append(",".join([name, *map(repr, map(float, values)), *[empty] * (width - len(values))]))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def as_long(path, series, time=False, first=None):
    parts = []
    for name, values in series.items():
        begin = datetime(2024, 1, 1) + timedelta(days=(first or {}).get(name, 0))
        frame = pl.DataFrame({"name": [name] * len(values), "value": values})
        days = [begin + timedelta(days=day) for day in range(len(values))]
        parts.append(frame.with_columns(day=pl.Series(days)) if time else frame)
    pl.concat(parts).write_csv(path)
    return str(path)


def as_columns(path, series, first=None, time=True):
    """Series that begin ``first`` days after the first row."""
    first = first or {}
    rows = max(first.get(name, 0) + len(values) for name, values in series.items())
    columns = {"day": [datetime(2024, 1, 1) + timedelta(days=day) for day in range(rows)]} if time else {}
    for name, values in series.items():
        before = first.get(name, 0)
        columns[name] = [None] * before + values.tolist() + [None] * (rows - before - len(values))
    pl.DataFrame(columns).write_csv(path)
    return str(path)


def data_of(path, **options):
    return SeriesData(path=path, window=8, horizon=3, batch_size=4, **options)


def same(one, other):
    assert one.whole_series.ids == other.whole_series.ids
    assert one.whole_series.lengths == other.whole_series.lengths
    np.testing.assert_array_equal(one.whole_series.values, other.whole_series.values)
    assert one.spec == other.spec
    for split in ("train", "val", "test"):
        samples, others = one.prepared.splits[split], other.prepared.splits[split]
        both = (part.batch(torch.arange(len(part))) for part in (samples, others))
        for mine, theirs in zip(*both, strict=True):
            assert (mine is None and theirs is None) or torch.equal(mine.nan_to_num(-7e7), theirs.nan_to_num(-7e7))


@pytest.mark.parametrize("empty", ["", "NA", "nan"])
def test_a_row_a_series_is_the_same_data_as_in_long_format(tmp_path, empty):
    series = drawn()
    wide = data_of(as_rows(tmp_path / "wide.csv", series, empty))
    same(wide, data_of(as_long(tmp_path / "long.csv", series), id="name", target="value"))
    assert wide.prepared.facts[0].endswith("3 series of 60 to 90 values, one in each row (data.layout=rows)")
    assert wide.spec.targets == ("value",)


def test_a_column_a_series_is_the_same_data_as_in_long_format(tmp_path):
    series, first = drawn(), {"b": 20, "c": 5}
    wide = data_of(as_columns(tmp_path / "wide.csv", series, first))
    same(wide, data_of(as_long(tmp_path / "long.csv", series, time=True, first=first), id="name", target="value"))
    assert "data.target=[a,b] makes one model of several columns" in wide.prepared.facts[0]
    timeless = data_of(as_columns(tmp_path / "timeless.csv", series, time=False), season=7)
    same(timeless, data_of(as_long(tmp_path / "long2.csv", series), id="name", target="value", season=7))


def test_a_given_target_makes_one_model_of_several_columns(tmp_path):
    series = drawn({"x": 90, "y": 90})
    data = data_of(as_columns(tmp_path / "wide.csv", series), target=["x", "y"])
    assert data.whole_series.ids == ()
    assert data.spec.targets == ("x", "y")


@pytest.mark.parametrize("index", [range(90), range(1901, 1991), range(10, 910, 10)])
def test_a_column_that_counts_is_not_taken_for_a_series(tmp_path, index):
    pl.DataFrame({"n": list(index), "y": drawn({"y": 90})["y"]}).write_csv(tmp_path / "counted.csv")
    with pytest.raises(RequestError, match=r"which column should be forecast\? .*n, y.*data\.layout=columns"):
        _ = data_of(str(tmp_path / "counted.csv")).prepared


def test_columns_that_may_be_a_target_and_something_else_are_told_with_both_remedies(tmp_path):
    path = as_columns(tmp_path / "load.csv", {"kwh": drawn()["a1"], "price": drawn()["a1"] + 1})
    fact = data_of(path).prepared.facts[0]
    assert "2 series of 90 rows, one per day, one in each column (data.layout=columns); data.target=kwh" in fact
    assert "data.target=kwh forecasts that column alone, data.target=[a,b] makes one model of several" in fact
    assert "alone" not in data_of(path, layout="columns").prepared.facts[0]


def test_numbers_and_times_as_first_column_are_no_ids(tmp_path):
    frame = pl.DataFrame({"first": ["2024-01-01", "2024-01-02"] * 40, "a": np.arange(80.0) % 7, "b": np.ones(80)})
    frame.write_csv(tmp_path / "twice.csv")
    with pytest.raises(RequestError, match="line 4: the time 2024-01-01 00:00:00 comes after"):
        _ = data_of(str(tmp_path / "twice.csv")).prepared


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [("12x", "line 3: column 'V4' contains '12x', which is not a number"), ("", "line 3: column 'V4' is empty")],
)
def test_a_cell_that_cannot_be_used_is_named(tmp_path, cell, complaint):
    lines = (tmp_path / as_rows(tmp_path / "wide.csv", drawn())).read_text().splitlines()
    cells = lines[2].split(",")
    cells[4] = cell
    lines[2] = ",".join(cells)
    (tmp_path / "wide.csv").write_text("\n".join(lines))
    with pytest.raises(RequestError, match=complaint):
        _ = data_of(str(tmp_path / "wide.csv")).prepared
    if not cell:
        filled = data_of(str(tmp_path / "wide.csv"), missing="fill").whole_series
        assert filled.values[90 + 3] == filled.values[90 + 2]


def test_other_rows_that_cannot_be_used_are_named(tmp_path):
    def complaint(text, **options):
        (tmp_path / "wide.csv").write_text(text)
        with pytest.raises(RequestError) as problem:
            _ = data_of(str(tmp_path / "wide.csv"), **options).prepared
        return str(problem.value)

    assert "line 3: series 'b' has no values" in complaint("id,1,2\na,1,2\nb,,\n", layout="rows")
    assert "line 3: the id 'a' occurs twice" in complaint("id,1,2\na,1,2\na,3,4\n", layout="rows")
    assert "line 3: column 'id' (data.id) has no id" in complaint("id,1,2\na,1,2\n,3,4\n", layout="rows")
    assert "column 'b' is not numeric" in complaint("a,b\n1,x\n2,y\n", layout="columns")
    assert "column 'b' has no values" in complaint("a,b,c\n1,,1\n2,,3\n5,,2\n", layout="columns")
    assert "line 4: column 'b' is empty" in complaint("a,b\n1,1\n2,3\n5,\n4,2\n", layout="columns")
    assert "data.layout=columns and data.target" in complaint("a,b\n1,2\n", layout="columns", target="a")
    assert "data.layout=rows and data.time" in complaint("a,b,c\nx,2,3\n", layout="rows", time="b")


# ---------------------------------------------------------------------- the file that continues each series


def test_the_test_file_continues_each_series_and_is_the_test_split(tmp_path):
    series = drawn()
    head = {name: values[:-5] for name, values in series.items()}
    tail = {name: series[name][-5:] for name in ("c", "a1", "b")}  # in another order
    together = data_of(as_rows(tmp_path / "all.csv", series), split={"val": 3, "test": 5}, season=7)
    for form, named in ((as_rows, {}), (as_long, {"id": "name", "target": "value"})):
        paths = {"path": form(tmp_path / "head.csv", head), "test_path": form(tmp_path / "tail.csv", tail)}
        same(SeriesData(**paths, **named, window=8, horizon=3, batch_size=4, season=7), together)
    assert [len(values) for values in together.windows.training] == [82, 52, 67]


def test_times_of_a_test_file_must_go_on_where_the_series_ended(tmp_path):
    series = drawn()
    head, tail = ({name: values[part] for name, values in series.items()} for part in (slice(-5), slice(-5, None)))
    ends = {name: len(values) for name, values in head.items()}
    path = as_long(tmp_path / "head.csv", head, time=True)

    def joined(first, rows=tail):
        later = as_long(tmp_path / "tail.csv", rows, time=True, first=first)
        return data_of(path, test_path=later, id="name", target="value")

    assert joined(ends).whole_series.lengths == (90, 60, 75)
    single = joined(ends, {name: values[:1] for name, values in tail.items()})
    with pytest.raises(
        RequestError, match=r"data\.test_path: the test file has 1 row of series 'a1', fewer than data\.horizon=3"
    ):
        _ = single.prepared
    for shift in (-1, 1):
        with pytest.raises(RequestError, match=r"tail.csv, line 7: .*does not continue .*head.csv in series 'b'"):
            _ = joined({**ends, "b": ends["b"] + shift}).prepared


def test_ids_of_a_test_file_that_are_missing_or_unknown_are_named(tmp_path):
    series = drawn()
    path = as_rows(tmp_path / "head.csv", series)
    fewer = as_rows(tmp_path / "fewer.csv", {"a1": series["a1"][:5]})
    with pytest.raises(RequestError, match=r"fewer.csv: does not have series 'b' and 1 more, which data.path has"):
        _ = data_of(path, test_path=fewer, layout="rows").prepared
    more = as_rows(tmp_path / "more.csv", {**series, "new": series["b"]})
    with pytest.raises(RequestError, match=r"more.csv: has series 'new', which data.path does not have"):
        _ = data_of(path, test_path=more).prepared
    with pytest.raises(RequestError, match=r"data.test_path and data.split.*set data.split=\{val: ROWS\}"):
        _ = data_of(path, test_path=path, split={"val": 3, "test": 5}).prepared
