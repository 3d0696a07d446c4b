"""Parsing of times: inferring the format of a text column."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from cellstate.errors import RequestError

# Month names may be short or long, in any case. Dates with dots are always day first; with slashes and dashes both
# orders are in use, so the values have to decide.
_DATES = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%Y%m%d",
    "%Y-%m",
    "%Y/%m",
    "%m/%Y",
    "%m.%Y",
    "%m-%Y",
    "%d.%m.%Y",
    "%d.%m.%y",
    "%d %B %Y",
    "%d-%B-%Y",
    "%d-%B-%y",
    "%d. %B %Y",
    "%B %d, %Y",
    "%B %d %Y",
    "%B %Y",
    "%B-%Y",
    "%B-%y",
)
_DAY_OR_MONTH_FIRST = tuple(
    (f"%d{mark}%m{mark}{year}", f"%m{mark}%d{mark}{year}") for mark in "/-" for year in ("%Y", "%y")
)
_CLOCKS = (" %H:%M:%S%.f", " %I:%M:%S %p", " %I:%M %p")
_SAMPLE = 100  # cells on which formats are tried before the entire column is parsed
_YEARS = (1000, 2999)  # "22" would parse as the year 22

_UTC, _OFFSET = r"\s*(?:Z|z|UTC|GMT)$", r"(:\d{2}(?:\.\d+)?)\s*([+-]\d{2}(?::?\d{2})?)$"


@dataclass(frozen=True)
class Reading:
    """A column parsed as times ``(N,)``, null where that fails; format ``other`` parses as many cells, differently."""

    times: pl.Series
    form: str
    other: str | None = None

    @property
    def read(self) -> int:
        """The number of cells that are times."""
        return len(self.times) - self.times.null_count()


def read_times(column: pl.Series, form: str | None = None) -> Reading:
    """Parse a text column as times, with ``form`` or else the format that parses most cells.

    Times with an offset from UTC stay local if the column has a single offset or a single time of day (local days have
    23 to 25 hours when clocks change); otherwise they are converted to UTC.

    Raises:
        RequestError: ``form`` is not a valid format.
    """
    if form is not None:
        return Reading(_given(column.str.strip_chars(), form), form)
    text, offset = _normalised(column)
    forms = _promising(text)
    if not forms:
        return Reading(pl.Series(column.name, [None] * len(column), dtype=pl.Datetime("us")), "")
    readings = [Reading(_parsed(text, form), form) for form in forms]
    best = max(readings, key=lambda reading: reading.read)
    # An offset shifts both readings equally, so they are compared without it.
    rivals = (reading for reading in readings if reading.read == best.read and reading is not best)
    other = next((rival.form for rival in rivals if not rival.times.equals(best.times, null_equal=True)), None)
    if best.times.null_count() > text.null_count() and " " in best.form:  # midnight may be written as the date alone
        midnights = _parsed(text, best.form.partition(" %H")[0].partition(" %I")[0])
        best = Reading(best.times.zip_with(best.times.is_not_null(), midnights), best.form)
    return Reading(_without_offset(best.times, offset), best.form, other)


def _normalised(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the text with single spaces before the time and ``am`` or ``pm``, and the offsets from UTC (or null)."""
    text = (
        column.str.strip_chars()
        .str.replace_all(r"\s+", " ")
        .str.replace(_UTC, "")
        .str.replace(r"(\d)T(\d)", "${1} ${2}")
        .str.replace(r", (\d{1,2}:)", " ${1}")
        .str.replace(r"(?i)(\d) ?([ap])\.?m\.?$", "${1} ${2}m")
        .str.replace(r"^(\d{4}[-/]?\d{2}[-/]?\d{2} \d{2})$", "${1}:00")
    )
    for quarter in range(1, 5):
        month = f"{3 * quarter - 2:02d}"
        text = text.str.replace(rf"(?i)^(\d{{4}})[- ]?Q{quarter}$", f"${{1}}-{month}")
        text = text.str.replace(rf"(?i)^Q{quarter}[- /](\d{{4}})$", f"${{1}}-{month}")
    return text.str.replace(_OFFSET, "${1}"), text.str.extract(_OFFSET, 2)


def _promising(text: pl.Series) -> list[str]:
    """Return the formats that parse most of a sample of the cells."""
    cells = text.drop_nulls()
    sample = cells.gather_every(max(1, len(cells) // _SAMPLE))
    with_clock = 2 * int(sample.str.contains(":").sum()) > len(sample)
    dates = (*_DATES, *(form for pair in _DAY_OR_MONTH_FIRST for form in pair))
    forms = [date + clock for date in dates for clock in (_CLOCKS if with_clock else ("",))]
    found = {form: len(sample) - _parsed(sample, form).null_count() for form in forms}
    return [form for form, read in found.items() if 2 * read > max(found.values()) > 0]


def _parsed(text: pl.Series, form: str) -> pl.Series:
    if "%d" not in form:  # a month is its first day
        text, form = "01 " + text, "%d " + form
    if form.endswith("%.f"):  # seconds may be missing or fractional
        whole, short = text.str.to_datetime(form, strict=False), form.removesuffix(":%S%.f")
        times = whole if not whole.has_nulls() else whole.zip_with(whole.is_not_null(), _strictly(text, short))
    else:
        times = _strictly(text, form)
    times = times.cast(pl.Datetime("us"))
    return times.set(~times.dt.year().is_between(*_YEARS), None)


def _strictly(text: pl.Series, form: str) -> pl.Series:
    return text.str.to_datetime(form, strict=False, time_unit="us")


def _given(text: pl.Series, form: str) -> pl.Series:
    """Parse with a user's format; a month is its first day, a missing minute is 0."""
    whole = form
    if not any(day in form for day in ("%d", "%e", "%j", "%D", "%F", "%x", "%v", "%c", "%s")):
        text, whole = "01 " + text, "%d " + whole
    if any(hour in form for hour in ("%H", "%I", "%k", "%l")) and "%M" not in form:
        text, whole = text + ":00", whole + ":%M"
    try:
        times = text.str.to_datetime(whole, strict=False, time_unit="us")
    except pl.exceptions.PolarsError as error:
        raise RequestError(
            f"data.time_format={form}: invalid time format ({str(error).splitlines()[0]}); "
            "give one such as %d/%m/%Y %H:%M"
        ) from error
    return without_zone(times)


def without_zone(times: pl.Series) -> pl.Series:
    """Return times with a zone as local time if the column has a single time of day, else as UTC, in microseconds."""
    if isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None:
        local = times.dt.replace_time_zone(None)
        times = (
            local if local.dt.time().n_unique() == 1 else times.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        )
    return times.cast(pl.Datetime("us"))


def _without_offset(times: pl.Series, offset: pl.Series) -> pl.Series:
    if offset.drop_nulls().n_unique() <= 1 or times.dt.time().drop_nulls().n_unique() == 1:
        return times
    sign = offset.str.starts_with("-").cast(pl.Int64) * -2 + 1
    digits = offset.str.replace(":", "")
    hours = digits.str.slice(1, 2).cast(pl.Int64)
    minutes = digits.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    ahead = (sign * (60 * hours + minutes)).fill_null(0)
    return (times.dt.epoch("us") - ahead * 60_000_000).cast(pl.Datetime("us"))


def number_times(column: pl.Series, *, named: bool) -> pl.Series | None:
    """Parse whole numbers as times ``(N,)``; None if they are not times.

    Dates such as 20220131 are always recognised. Years, months such as 202201 and seconds, milli-, micro- or
    nanoseconds since 1970 are treated as times only if the user selected the column.
    """
    whole = column.cast(pl.Int64, strict=False)
    low, high = whole.min(), whole.max()
    if not isinstance(low, int) or not isinstance(high, int) or (whole != column).any():
        return None
    text = whole.cast(pl.String)
    if low >= 1000_01_01 and high <= 2999_12_31:
        times = _strictly(text, "%Y%m%d")
        if named or not times.has_nulls():
            return times
    if not named or low < _YEARS[0]:
        return None
    if high <= _YEARS[1]:
        return _strictly(text + "0101", "%Y%m%d")
    if low >= 1000_01 and high <= 2999_12:
        return _strictly(text + "01", "%Y%m%d")
    for limit, unit in ((10**11, 10**-6), (10**14, 10**-3), (10**17, 1), (2**63, 1000)):
        if high < limit:
            micros = whole // unit if unit >= 1 else whole * round(1 / unit)
            return micros.cast(pl.Datetime("us"))
    return None
