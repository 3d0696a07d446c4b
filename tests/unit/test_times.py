"""Times as people write them: each form is read as Python reads it, and what is ambiguous is asked for."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from cellstate.data.files.clock import Clock, calendar_features
from cellstate.data.files.table import Table, read_table
from cellstate.data.files.times import read_times
from cellstate.errors import RequestError

HOURS = [datetime(2022, 1, 27) + timedelta(hours=hour) for hour in range(24 * 9)]
DAYS = [datetime(2022, 1, 1) + timedelta(days=day) for day in range(60)]
MONTHS = [datetime(2015 + month // 12, month % 12 + 1, 1) for month in range(40)]

FORMS = {
    "%Y-%m-%d %H:%M:%S": HOURS,
    "%Y-%m-%dT%H:%M": HOURS,
    "%Y-%m-%dT%H:%M:%SZ": HOURS,
    "%Y-%m-%d %H:%M:%S UTC": HOURS,
    "%Y-%m-%dT%H:%M:%S+01:00": HOURS,
    "%Y-%m-%d %H:%M:%S.%f": HOURS,
    "%Y-%m-%d %H": HOURS,
    "%Y/%m/%d %H:%M": HOURS,
    "%m/%d/%Y %I:%M %p": HOURS,
    "%m/%d/%Y %I:%M:%S%p": HOURS,
    "%d/%m/%Y %H:%M": HOURS,
    "%d.%m.%Y %H:%M": HOURS,
    "%d.%m.%Y, %H:%M:%S": HOURS,
    "%Y%m%dT%H:%M": HOURS,
    "%Y-%m-%d": DAYS,
    "%Y/%m/%d": DAYS,
    "%Y.%m.%d": DAYS,
    "%Y%m%d": DAYS,
    "%m/%d/%Y": DAYS,
    "%d/%m/%Y": DAYS,
    "%m-%d-%Y": DAYS,
    "%d-%m-%Y": DAYS,
    "%m/%d/%y": DAYS,
    "%d/%m/%y": DAYS,
    "%d.%m.%Y": DAYS,
    "%d.%m.%y": DAYS,
    "%d %b %Y": DAYS,
    "%d-%b-%Y": DAYS,
    "%B %d, %Y": DAYS,
    "%Y-%m": MONTHS,
    "%Y/%m": MONTHS,
    "%m/%Y": MONTHS,
    "%b %Y": MONTHS,
    "%B %Y": MONTHS,
    "%b-%y": MONTHS,
}


def written(folder, cells, name="t.csv", values=None):
    values = range(len(cells)) if values is None else values
    path = folder / name
    path.write_text("when;v\n" + "".join(f"{cell};{value}\n" for cell, value in zip(cells, values, strict=True)))
    return str(path)


@pytest.mark.parametrize(
    ("form", "bare"),
    [
        (form, bare)
        for form in FORMS
        for bare in (False, True)
        if not bare or form.startswith(("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y"))
    ],
)
def test_every_usual_form_of_a_time_is_read_as_python_writes_it(tmp_path, form, bare):
    times = FORMS[form]
    cells = [time.strftime(form) for time in times]
    if bare:  # without leading zeros, as spreadsheets write them
        mark = form[2]
        cells = [mark.join(str(int(part)) if part.isdigit() else part for part in cell.split(mark)) for cell in cells]
    table = read_table(written(tmp_path, cells), "data.path")
    name, found = table.times(None)
    assert name == "when"
    assert found.to_list() == times
    if form != "%Y%m%d":  # whole numbers are read by rule
        assert table.times("when", None)[1].to_list() == times


def test_quarters_are_months(tmp_path):
    cells = [f"{year}Q{quarter}" for year in range(2010, 2020) for quarter in range(1, 5)]
    clock = read_table(written(tmp_path, cells), "data.path").clock(None)
    assert (clock.step, clock.season) == ("quarter", 4)
    assert clock.times[5] == datetime(2011, 4, 1)


@pytest.mark.parametrize("mark", ["/", "-"])
def test_day_and_month_are_told_apart_by_a_single_day_above_twelve(tmp_path, mark):
    first = [date(2022, 1, day) for day in range(1, 13)]
    for form in (f"%d{mark}%m{mark}%Y", f"%m{mark}%d{mark}%Y"):
        path = written(tmp_path, [day.strftime(form) for day in first])
        with pytest.raises(RequestError, match="order of day and month is ambiguous") as refused:
            read_table(path, "data.path").times(None)
        assert f"'%d{mark}%m{mark}%Y'" in str(refused.value)
        assert f"'%m{mark}%d{mark}%Y'" in str(refused.value)
        given = read_table(path, "data.path").times(None, form)[1]
        assert given.dt.date().to_list() == first
        longer = written(tmp_path, [day.strftime(form) for day in (*first, date(2022, 1, 13))])
        assert read_table(longer, "data.path").times(None)[1].dt.date().to_list() == [*first, date(2022, 1, 13)]


def test_dates_with_dots_are_day_first(tmp_path):
    cells = ["01.02.2022", "01.03.2022", "01.04.2022", "01.05.2022"]
    assert read_table(written(tmp_path, cells), "data.path").clock(None).step == "month"


def test_days_of_local_time_stay_days_where_clocks_change_and_hours_become_utc(tmp_path):
    from zoneinfo import ZoneInfo

    berlin = ZoneInfo("Europe/Berlin")
    midnights = [datetime(2022, 3, 20, tzinfo=berlin) + timedelta(days=day) for day in range(14)]
    assert len({time.isoformat()[-6:] for time in midnights}) == 2
    assert read_table(written(tmp_path, [t.isoformat() for t in midnights]), "data.path").clock(None).step == "day"
    utc = [datetime(2022, 3, 26, tzinfo=ZoneInfo("UTC")) + timedelta(hours=hour) for hour in range(48)]
    hours = [time.astimezone(berlin).isoformat() for time in utc]
    clock = read_table(written(tmp_path, hours), "data.path").clock(None)
    assert clock.step == "hour"
    assert clock.times.to_list() == [time.replace(tzinfo=None) for time in utc]
    frame = pl.DataFrame({"t": pl.Series(utc).dt.convert_time_zone("Europe/Berlin"), "v": np.arange(48.0)})
    assert Table(frame, "t", header_lines=0).clock(None).times.to_list() == clock.times.to_list()


@pytest.mark.parametrize(
    ("cells", "step", "first"),
    [
        ([str(year) for year in range(1950, 2020)], "year", datetime(1950, 1, 1)),
        ([f"{2000 + m // 12}{m % 12 + 1:02d}" for m in range(50)], "month", datetime(2000, 1, 1)),
        ([str(1_600_000_000 + 3600 * n) for n in range(50)], "hour", datetime(2020, 9, 13, 12, 26, 40)),
        ([str((1_600_000_000 + 3600 * n) * 1000) for n in range(50)], "hour", datetime(2020, 9, 13, 12, 26, 40)),
        ([str((1_600_000_000 + 3600 * n) * 10**6) for n in range(50)], "hour", datetime(2020, 9, 13, 12, 26, 40)),
        ([str((1_600_000_000 + 3600 * n) * 10**9) for n in range(50)], "hour", datetime(2020, 9, 13, 12, 26, 40)),
    ],
)
def test_numbers_are_times_only_where_they_are_named(tmp_path, cells, step, first):
    table = read_table(written(tmp_path, cells), "data.path")
    assert table.times(None) is None
    clock = table.clock("when")
    assert (clock.step, clock.times[0]) == (step, first)


def test_values_that_are_no_dates_are_no_times(tmp_path):
    for cells in (["7.5", "8.25", "9.75"], ["1", "2", "3"], ["red", "green", "blue"], ["v1.2", "v1.3", "v1.4"]):
        assert read_table(written(tmp_path, cells), "data.path").times(None) is None


def test_a_cell_that_is_no_time_is_named(tmp_path):
    cells = [day.strftime("%d/%m/%Y") for day in DAYS]
    cells[33] = "32/01/2022"
    with pytest.raises(RequestError, match=r"line 35: column 'when' contains '32/01/2022', which is not a time"):
        read_table(written(tmp_path, cells), "data.path").times(None)


def test_midnight_may_be_written_as_the_date_alone(tmp_path):
    cells = [time.strftime("%d/%m/%Y %H:%M").removesuffix(" 00:00") for time in HOURS]
    assert read_table(written(tmp_path, cells), "data.path").times(None)[1].to_list() == HOURS


def test_a_format_of_ones_own_reads_what_no_rule_knows(tmp_path):
    cells = [day.strftime("day %d of %B in the year %Y") for day in DAYS]
    table = read_table(written(tmp_path, cells), "data.path")
    assert table.times(None) is None
    assert table.times(None, "day %d of %B in the year %Y")[1].to_list() == DAYS
    with pytest.raises(RequestError, match=r"contains String, not times in data.time_format=%d %Q \(line 2: 'day 01"):
        table.times("when", "%d %Q")
    with pytest.raises(RequestError, match=r"no column has times in data.time_format=%Y-%m-%d %H:%M"):
        table.times(None, "%Y-%m-%d %H:%M")


def test_two_digit_years_are_not_the_year_twenty_two():
    assert read_times(pl.Series(["13/01/22", "14/01/22"])).times.dt.year().to_list() == [2022, 2022]


# ---------------------------------------------------------------------- calendar


def test_calendar_features_are_points_on_circles():
    times = np.array(HOURS, dtype="datetime64[us]")
    names, features = calendar_features(times)
    assert names == ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "year_sin", "year_cos")
    for at, time in enumerate(HOURS):
        year = datetime(time.year, 1, 1)
        phases = (time.hour / 24, time.weekday() / 7, (time - year).days / 365)
        expected = [wave(2 * np.pi * phase) for phase in phases for wave in (np.sin, np.cos)]
        np.testing.assert_allclose(features[at], expected, atol=1e-9)


@pytest.mark.parametrize(("times", "cycles"), [(DAYS, ["weekday", "year"]), (MONTHS, ["year"])])
def test_a_calendar_says_nothing_of_cycles_shorter_than_a_step(times, cycles):
    names, features = calendar_features(np.array(times, dtype="datetime64[us]"))
    assert [name.removesuffix("_sin") for name in names[::2]] == cycles
    assert features.shape == (len(times), 2 * len(cycles))


def test_the_grid_of_a_clock_holds_the_steps_in_gaps_too():
    for times in (HOURS, DAYS, MONTHS):
        kept = [time for at, time in enumerate(times) if at not in (7, 8, 30)]
        table = Table(pl.DataFrame({"t": kept}), "t", header_lines=0)
        assert Clock(table, "t", table.frame["t"].cast(pl.Datetime("us"))).grid().tolist() == [
            time if times is not MONTHS else time.date() for time in times
        ]
