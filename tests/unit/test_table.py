"""Tables and their clocks: formats, times of every usual step, holes that are filled without a look ahead."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from cellstate.data.files.table import Table, read_table
from cellstate.errors import RequestError

START = datetime(2023, 1, 1)


def written(folder, text, name="table.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return str(path)


def read(folder, text, **options):
    return read_table(written(folder, text, **options), "data.path")


def timed(times, values=None, header="time,value"):
    values = range(len(times)) if values is None else values
    return "\n".join([header, *(f"{time},{value}" for time, value in zip(times, values, strict=True))]) + "\n"


def clock_of(times):
    frame = pl.DataFrame({"time": times, "value": np.arange(len(times), dtype=float)})
    return Table(frame, "table.csv", header_lines=1).clock(None)


# ---------------------------------------------------------------------- reading


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", ["", "newline"])
def test_csv_files_of_every_usual_make_read_alike(tmp_path, separator, newline, mark, last):
    rows = [["date", "load", "price"], ["2023-01-01", "1.5", "10"], ["2023-01-02", "-2e3", "20"]]
    text = mark + newline.join(separator.join(row) for row in rows) + (newline if last else "")
    table = read(tmp_path, text)
    assert table.columns == ["date", "load", "price"]
    np.testing.assert_array_equal(table.numbers(["price", "load"], fill=False), [[10, 1.5], [20, -2000]])
    assert table.clock(None).step == "day"


def test_blanks_around_names_and_cells_do_not_matter(tmp_path):
    table = read(tmp_path, "date , load\n2023-01-01, 1.5\n2023-01-02, 2.5 \n")
    assert table.columns == ["date", "load"]
    np.testing.assert_array_equal(table.numbers(["load"], fill=False), [[1.5], [2.5]])


def test_parquet_and_csv_give_the_same_numbers_to_the_bit(tmp_path):
    times = [START + timedelta(hours=hour) for hour in range(100)]
    values = np.random.default_rng(0).normal(size=100)
    frame = pl.DataFrame({"time": times, "value": values})
    frame.write_parquet(tmp_path / "table.parquet")
    frame.write_csv(tmp_path / "table.csv")
    tables = [read_table(str(tmp_path / name), "data.path") for name in ("table.parquet", "table.csv")]
    for table in tables:
        np.testing.assert_array_equal(table.numbers(["value"], fill=False)[:, 0], values)
        assert (table.clock(None).step, table.clock(None).season) == ("hour", 24)
    assert [table.line(41) for table in tables] == ["row 42", "line 43"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series([1, 2], dtype=pl.UInt8), [1, 2]),
        (pl.Series([1, 2**40], dtype=pl.Int64), [1, 2**40]),
        (pl.Series([0.5, -1.0], dtype=pl.Float32), [0.5, -1]),
        (pl.Series(["1.25", " 2 "]), [1.25, 2]),
    ],
)
def test_numbers_of_every_type_become_doubles(values, expected):
    numbers = Table(pl.DataFrame({"v": values}), "t", header_lines=0).numbers(["v"], fill=False)
    assert numbers.dtype == np.float64
    np.testing.assert_array_equal(numbers[:, 0], expected)


def test_two_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(RequestError, match=r"line 1: two columns are called 'a'"):
        read(tmp_path, "a, a\n1,2\n3,4\n")


def test_the_only_numeric_column_is_found(tmp_path):
    assert read(tmp_path, "date,name,v\n2023-01-01,a,1\n2023-01-02,b,2\n").only_numeric_column("data.target") == "v"
    with pytest.raises(RequestError, match="numeric columns: v, w"):
        read(tmp_path, "v,w\n1,2\n").only_numeric_column("data.target")
    with pytest.raises(RequestError, match="no column is numeric"):
        read(tmp_path, "v,w\na,b\n").only_numeric_column("data.target")


# ---------------------------------------------------------------------- lines


def test_messages_name_the_line_as_an_editor_counts_it(tmp_path):
    lines = ["date,v"] + [f"2023-01-{day:02d},{day}" for day in range(1, 29)]
    lines[16] = "2023-01-16,"  # the seventeenth line of the file
    lines[20] = "2023-01-20,NaN"
    with pytest.raises(RequestError, match=r"lines 17, 21: column 'v' is empty or not finite in 2 rows"):
        read(tmp_path, "\n".join(lines)).numbers(["v"], fill=False)
    lines[16] = "2023-01-16,sixteen"
    with pytest.raises(RequestError, match=r"line 17: column 'v' contains 'sixteen'"):
        read(tmp_path, "\n".join(lines)).numbers(["v"], fill=True)


def test_a_gap_is_named_by_the_line_after_it(tmp_path):
    times = [START + timedelta(hours=hour) for hour in (0, 1, 2, 3, 6, 7, 8)]
    table = read(tmp_path, timed(times))
    with pytest.raises(RequestError, match=r"line 6: a gap in the series.*2 steps missing in 1 gap"):
        table.clock(None).regular(table.numbers(["value"], fill=False), fill=False)


def test_times_that_stand_twice_or_run_backwards_are_named(tmp_path):
    days = ["2023-01-01", "2023-01-02", "2023-01-03", "2023-01-03", "2023-01-04"]
    with pytest.raises(RequestError, match=r"line 5: the time 2023-01-03 .* occurs twice"):
        read(tmp_path, timed(days)).clock(None)
    days[3] = "2023-01-01"
    with pytest.raises(RequestError, match=r"line 5: the time 2023-01-01 .* comes after 2023-01-03"):
        read(tmp_path, timed(days)).clock(None)


# ---------------------------------------------------------------------- clocks


def months(step, *, end=False, count=30):
    starts = [date(2019 + number // 12, number % 12 + 1, 1) for number in range(0, step * count + 1, step)]
    if not end:
        return starts
    after = [(day.replace(day=28) + timedelta(days=4)).replace(day=1) for day in starts]
    return [day - timedelta(days=1) for day in after]


CLOCKS = {
    "5 minutes": ([START + timedelta(minutes=5 * n) for n in range(40)], "5 minutes", 288),
    "15 minutes": ([START + timedelta(minutes=15 * n) for n in range(40)], "15 minutes", 96),
    "half hours": ([START + timedelta(minutes=30 * n) for n in range(40)], "30 minutes", 48),
    "hours": ([START + timedelta(hours=n) for n in range(40)], "hour", 24),
    "hours of one day": ([START + timedelta(hours=n) for n in range(10)], "hour", 24),
    "days": ([START.date() + timedelta(days=n) for n in range(40)], "day", 7),
    "days at noon": ([START + timedelta(days=n, hours=12) for n in range(40)], "day", 7),
    "weeks": ([START.date() + timedelta(weeks=n) for n in range(40)], "week", 52),
    "months": (months(1), "month", 12),
    "month ends": (months(1, end=True), "month", 12),
    "quarters": (months(3), "quarter", 4),
    "quarter ends": (months(3, end=True), "quarter", 4),
    "years": (months(12, count=10), "year", 1),
    "every 7 seconds": ([START + timedelta(seconds=7 * n) for n in range(40)], "0:00:07", 1),
}


@pytest.mark.parametrize("kind", CLOCKS)
def test_a_clock_knows_its_step_and_season(kind):
    times, step, season = CLOCKS[kind]
    clock = clock_of(times)
    assert (clock.step, clock.season) == (step, season)
    values = np.arange(len(times), dtype=float)[:, None]
    np.testing.assert_array_equal(clock.regular(values, fill=False), values)  # months of 28 to 31 days are no gaps


@pytest.mark.parametrize("kind", [kind for kind in CLOCKS if kind not in ("years", "hours of one day")])
def test_a_skipped_step_of_any_length_is_a_gap(kind):
    times, *_ = CLOCKS[kind]
    kept = [time for number, time in enumerate(times) if number not in (11, 12, 20)]
    values = np.array([number for number in range(len(times)) if number not in (11, 12, 20)], dtype=float)[:, None]
    clock = clock_of(kept)
    with pytest.raises(RequestError, match=r"3 steps missing in 2 gaps"):
        clock.regular(values, fill=False)
    filled = clock.regular(values, fill=True)[:, 0]
    expected = np.arange(len(times), dtype=float)
    expected[[11, 12, 20]] = 10, 10, 19
    np.testing.assert_array_equal(filled, expected)


def test_one_gap_in_a_short_series_is_a_gap_and_no_other_step():
    clock = clock_of([START + timedelta(hours=hour) for hour in (0, 1, 3)])
    assert clock.step == "hour"
    np.testing.assert_array_equal(clock.regular(np.array([[0.0], [1], [3]]), fill=True)[:, 0], [0, 1, 1, 3])


def test_a_time_off_the_grid_is_named():
    times = [START + timedelta(hours=hour) for hour in range(20)]
    times[9] += timedelta(minutes=10)
    with pytest.raises(RequestError, match=r"line 11: the time goes from 2023-01-01 08:00:00 to 2023-01-01 09:10:00"):
        clock_of(times).regular(np.zeros((20, 1)), fill=True)


def test_the_first_column_of_dates_is_the_clock_unless_one_is_named(tmp_path):
    table = read(tmp_path, "v,hours,days\n1,2023-01-01 00:00:00,2023-01-01\n2,2023-01-01 01:00:00,2023-01-02\n")
    assert table.clock(None).step == "hour"
    assert table.clock("days").step == "day"
    assert read(tmp_path, "v\n1\n2\n").clock(None) is None
    with pytest.raises(RequestError, match=r"column 'v' \(data.time\) contains Int64, not dates"):
        table.clock("v")


def test_times_with_a_zone_and_without_seconds_are_read(tmp_path):
    assert read(tmp_path, timed(["2023-01-01T00:00:00Z", "2023-01-01T01:00:00Z"])).clock(None).step == "hour"
    assert read(tmp_path, timed(["2023-01-01 00:00", "2023-01-01 00:15"])).clock(None).step == "15 minutes"


# ---------------------------------------------------------------------- filling


def slow_fill(values):
    last, filled = None, []
    for value in values:
        last = last if value is None or not np.isfinite(value) else value
        filled.append(last)
    return filled


def test_a_hole_takes_the_last_value_before_it():
    generator = np.random.default_rng(0)
    for _ in range(20):
        values = generator.normal(size=50).tolist()
        for hole in generator.choice(np.arange(1, 50), 20, replace=False).tolist():
            values[hole] = generator.choice([None, float("nan"), float("inf")])
        table = Table(pl.DataFrame({"v": pl.Series(values, dtype=pl.Float64)}), "t", header_lines=1)
        np.testing.assert_array_equal(table.numbers(["v"], fill=True)[:, 0], slow_fill(values))


def test_what_is_filled_depends_on_no_later_row(tmp_path):
    times = [START + timedelta(hours=hour) for hour in (0, 1, 2, 5, 6, 7, 9, 10, 11, 12)]
    cells = ["1", "", "3", "4", "nan", "", "7", "8", "9", "10"]
    filled = []
    for altered in range(len(cells)):
        changed = cells[:altered] + ["99"] * (len(cells) - altered)
        table = read(tmp_path, timed(times, changed))
        filled.append(table.clock(None).regular(table.numbers(["value"], fill=True), fill=True)[:, 0])
    table = read(tmp_path, timed(times, cells))
    whole = table.clock(None).regular(table.numbers(["value"], fill=True), fill=True)[:, 0]
    np.testing.assert_array_equal(whole, [1, 1, 3, 3, 3, 4, 4, 4, 4, 7, 8, 9, 10])
    for altered in range(1, len(cells)):
        hours = times[altered].hour  # rows before this hour cannot know of the change
        np.testing.assert_array_equal(filled[altered][:hours], whole[:hours])


def test_holes_written_as_words_are_holes(tmp_path):
    table = read(tmp_path, "v,w\n1,a\n,a\nNA,a\nnull,a\nNaN,a\n6,a\n")
    np.testing.assert_array_equal(table.numbers(["v"], fill=True)[:, 0], [1, 1, 1, 1, 1, 6])
    with pytest.raises(RequestError, match="lines 3, 4, 5, 6"):
        table.numbers(["v"], fill=False)


def test_a_hole_in_the_first_row_has_nothing_to_repeat(tmp_path):
    with pytest.raises(RequestError, match="line 2: column 'v' starts with an empty cell"):
        read(tmp_path, "v,w\n,1\n2,1\n").numbers(["v"], fill=True)


# ---------------------------------------------------------------------- decimals, quotes


def test_decimal_commas_are_read_where_a_column_of_numbers_has_some(tmp_path):
    text = "t;a;b;c\n2023-01-01;12,5;1.234,5;1.5\n2023-01-02;-3;7,25;2.5\n2023-01-03;4,125;2.001.000,0;3.5\n"
    table = read(tmp_path, text)
    assert table.decimal_commas == {"a", "b"}
    expected = [[12.5, 1234.5, 1.5], [-3, 7.25, 2.5], [4.125, 2_001_000, 3.5]]
    np.testing.assert_array_equal(table.numbers(["a", "b", "c"], fill=False), expected)
    broken = read(tmp_path, text.replace("4,125", "4,12,5"))
    with pytest.raises(RequestError, match="line 4: column 'a' contains '4,12,5', which is not a number"):
        broken.numbers(["a"], fill=False)


def test_a_comma_in_a_file_of_commas_is_no_decimal_unless_it_is_said(tmp_path):
    path = written(tmp_path, 't,v\n2023-01-01,"1,234"\n2023-01-02,"2,345"\n')
    with pytest.raises(RequestError, match="contains '1,234', which is not a number"):
        read_table(path, "data.path").numbers(["v"], fill=False)
    given = read_table(path, "data.path", decimal=",")
    np.testing.assert_array_equal(given.numbers(["v"], fill=False)[:, 0], [1.234, 2.345])
    grouped = written(tmp_path, "t;v\n2023-01-01;1.234\n2023-01-02;2,5\n2023-01-02;7\n")
    np.testing.assert_array_equal(
        read_table(grouped, "data.path", decimal=",").numbers(["v"], fill=False)[:, 0], [1234, 2.5, 7]
    )
    with pytest.raises(RequestError, match="contains '2,5', which is not a number"):
        read_table(grouped, "data.path", decimal=".").numbers(["v"], fill=False)


def test_lines_are_counted_over_line_breaks_in_quoted_cells(tmp_path):
    text = 'note,v\n"one\ntwo\nthree",1\nplain,2\n"a ""quoted"" word\r\nand more",3\nlast,\n'
    table = read(tmp_path, text)
    assert [table.line(row) for row in range(4)] == ["line 2", "line 5", "line 6", "line 8"]
    with pytest.raises(RequestError, match="line 8: column 'v' is empty"):
        table.numbers(["v"], fill=False)
    with pytest.raises(RequestError, match="line 5: 3 cells in a table of 2 columns"):
        read(tmp_path, text.replace("plain,2", "plain,2,3"))


def test_quotes_in_a_header_are_part_of_the_name(tmp_path):
    table = read(tmp_path, '"load ""net""","price, gross"\n1,2\n3,4\n')
    assert table.columns == ['load "net"', "price, gross"]
    np.testing.assert_array_equal(table.numbers(['load "net"'], fill=False)[:, 0], [1, 3])


def test_blank_lines_at_the_end_are_no_rows(tmp_path):
    assert len(read(tmp_path, "t,v\n2023-01-01,1\n2023-01-02,2\n\n\n")) == 2
