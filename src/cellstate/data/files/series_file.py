"""A file of one or several series: which columns it has, and the values and times of each series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cellstate.data.files.clock import Clock, calendar_features
from cellstate.data.files.layouts import Layout, SeriesFormat, is_numeric, layout_of, listed
from cellstate.data.files.table import Table, read_table
from cellstate.data.files.wide import VALUE, column_series, read_rows
from cellstate.errors import RequestError


@dataclass(frozen=True)
class Part:
    """One series of a file: ``values (N, C + P + K + calendar)``, its times if there are any, and its static values."""

    values: np.ndarray
    clock: Clock | None = None
    static: tuple[float | str, ...] = ()


class SeriesFile:
    """A file that was read as ``form`` says, the table still in its own form.

    Attributes:
        continues: whether it continues another file, which has the static features.
        layout: of the table.
        targets: names of what is forecast.
        columns: config key -> columns of a table in long format.
        times: name and ``(N,)`` times of the time column, if there is one.
        id_name: what the ids of several series are called.
    """

    def __init__(
        self, path: str, key: str, form: SeriesFormat, like: SeriesFile | None = None, targets: tuple[str, ...] = ()
    ) -> None:
        """Read a file.

        Args:
            path: of the file.
            key: that names it, in errors.
            form: what the user says of it.
            like: the file that it continues, which has its layout and columns.
            targets: those of a trained model, which the file is for.

        Raises:
            RequestError: the file cannot be read, or has no such columns.
        """
        self.continues = like is not None
        self.form, self.table = form, read_table(path, key=key, decimal=form.decimal)
        self.layout = like.layout if like else self._layout(targets)
        if self.layout == "long":
            self.columns = like.columns if like else self._long_columns(targets)
            self.targets, self.id_name = tuple(self.columns["data.target"]), form.id
            beside = [*self.names, *listed(form.static), *listed(form.id)]
        else:
            self.columns, self.targets, self.id_name, beside = {}, (VALUE,), "id", []
        name = like.times[0] if like and like.times else form.time
        read = self.layout != "rows" and (like is None or like.times is not None)
        self.times: tuple[str, pl.Series] | None = self.table.times(name, form.time_format, beside) if read else None

    @property
    def names(self) -> list[str]:
        """The columns of values in a table in long format: targets, past and known."""
        return [name for group in self.columns.values() for name in group]

    @property
    def several(self) -> bool:
        """Whether the file has ids of series."""
        return self.id_name is not None

    def _layout(self, targets: tuple[str, ...]) -> Layout:
        named = bool(targets) and set(targets) <= set(self.table.columns)
        if self.form.layout is None and named:
            return "long"
        layout = layout_of(self.table, self.form)
        return "columns" if targets == (VALUE,) and layout == "long" and not self.form.roles else layout

    def _long_columns(self, targets: tuple[str, ...]) -> dict[str, list[str]]:
        """Return the columns to read, by config key."""
        form = self.form
        past, known = listed(form.past), listed(form.known)
        if form.target is not None or targets:
            wanted = listed(form.target) or list(targets)
        else:
            beside = [*past, *known, *listed(form.static), *(name for name in (form.id, form.time) if name)]
            found = self.table.times(form.time, form.time_format, exclude=beside)
            wanted = [self.table.only_numeric_column("data.target", exclude=[*beside, *([found[0]] if found else [])])]
        if not wanted or len(set(wanted)) < len(wanted):
            raise RequestError(f"data.target=[{','.join(wanted)}]: give one or more different columns, such as [a,b]")
        columns = {"data.target": wanted, "data.past": past, "data.known": known}
        keys: dict[str, str] = {}
        roles = {"data.static": form.static, "data.id": form.id, "data.time": form.time}
        for key, names in (*columns.items(), *((key, listed(names)) for key, names in roles.items())):
            for name in names:
                if name in keys:
                    raise RequestError(f"column {name!r} is in both {keys[name]} and {key}; remove it from one")
                keys[name] = key
        return columns

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Yield id and rows of each series of a table that is not a row for each series."""
        if self.layout == "long":
            yield from self.table.series(self.form.id).items()
        else:
            time = self.times[0] if self.times else None
            names = [name for name in self.table.columns if name != time]
            strange = [name for name in names if not is_numeric(self.table, name)]
            if strange:
                raise RequestError(
                    f"{self.table.name}: column {strange[0]!r} is not numeric; with a column for each series "
                    "(data.layout=columns) all but the time column must be"
                )
            yield from column_series(self.table, names, time)

    def clock(self, part: Table, after: Clock | None = None) -> Clock | None:
        """Return the times of one series, or None if the file has none."""
        return None if self.times is None else Clock(part, self.times[0], part.of_file(self.times[1]), after)

    def parts(self, after: Mapping[str, Part] | None = None) -> dict[str, Part]:
        """Return id -> series; with ``after``, the series of the file that this one continues, in their order.

        Raises:
            RequestError: a cell is not a number, or empty; the times have gaps, or do not continue those before; or the
                ids are not those of ``after``.
        """
        if self.layout == "rows":
            found = read_rows(self.table, self.form.id, fill=self.form.fill)
            parts = {name: Part(values[:, None]) for name, values in found.items()}
            return parts if after is None else self._matching(parts, after)
        tables = dict(self.tables())
        if after is not None:
            tables = self._matching(tables, after)
        return {
            name: self._part(name, part, None if after is None else after[name].clock) for name, part in tables.items()
        }

    def _part(self, name: str, part: Table, after: Clock | None) -> Part:
        form, fill = self.form, self.form.fill
        clock = self.clock(part, after)
        static = () if self.continues else static_values(part, listed(form.static))
        columns = self.columns or {"data.layout": [name]}
        values = np.hstack([part.numbers(names, fill=fill, key=key) for key, names in columns.items()])
        if clock is None:
            if form.calendar:
                raise RequestError(f"{self.table.name}: data.calendar=true needs a time column; set data.time=COLUMN")
            return Part(values, static=static)
        values = clock.regular(values, fill=fill)
        return Part(np.hstack([values, waves_of(clock, len(values))]) if form.calendar else values, clock, static)

    def _matching(self, found: dict[str, Any], after: Mapping[str, Part]) -> dict[str, Any]:
        """Return what was ``found`` in the order of the series that it continues; all must be there, and no others."""
        for names, others, complaint in (
            (after, found, "does not have series {}, which data.path has; give all of them"),
            (found, after, "has series {}, which data.path does not have; remove it"),
        ):
            left_out = [name for name in names if name not in others]
            if left_out:
                more = f" and {len(left_out) - 1:,} more" if len(left_out) > 1 else ""
                raise RequestError(f"data.test_path={self.table.name}: {complaint.format(repr(left_out[0]) + more)}")
        return {name: found[name] for name in after}

    def described(self, parts: Mapping[str, Part]) -> list[str]:
        """Return facts on the file, a line each."""
        table, rows = self.table, len(self.table)
        sizes = [len(part.values) for part in parts.values()]
        length = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
        if self.layout == "rows":
            return [f"{table.name}: {len(parts):,} series of {length} values, one in each row (data.layout=rows)"]
        clock = next(iter(parts.values())).clock
        step = "" if clock is None else f", one per {clock.step}"
        if self.layout == "columns":
            fact = f"{table.name}: {len(parts):,} series of {length} rows{step}, one in each column"
            alone = f"data.target={next(iter(parts))} forecasts that column alone, " if self.form.layout is None else ""
            return [f"{fact} (data.layout=columns); {alone}data.target=[a,b] makes one model of several columns"]
        several = f" in {len(parts):,} series" if self.several else ""
        fact = f"{table.name}: {rows:,} rows{several}, forecasting {', '.join(self.targets)}{step}"
        for key, words in (("data.past", "known in the past"), ("data.known", "known in advance")):
            if self.columns[key]:
                fact += f"; {words}: {', '.join(self.columns[key])}"
        if static := listed(self.form.static):
            fact += f"; of each series: {', '.join(static)}"
        return [fact, *self._doubts()]

    def _doubts(self) -> list[str]:
        """Return facts on how cells were read that may be wrong."""
        table, facts = self.table, []
        commas = [name for name in self.names if name in table.decimal_commas]
        if commas:
            facts.append(f"decimal commas in {', '.join(commas)} (data.decimal='.' reads them as thousands separators)")
        maybe = table.possible_times([*self.names, *listed(self.form.id)]) if self.times is None else []
        if maybe:
            facts.append(
                f"no time column recognised: if it is {' or '.join(maybe)}, set data.time=COLUMN and, if "
                "necessary, data.time_format"
            )
        return facts


def static_values(part: Table, names: Sequence[str]) -> tuple[float | str, ...]:
    """Return the values of columns that are constant within a series: of numeric columns numbers, else text.

    Raises:
        RequestError: a column is not constant; the line is named.
    """
    found: list[float | str] = []
    for name in names:
        column = part.complete_column(name, key="data.static", what="value")
        other = (column != column[0]).arg_true()
        if len(other):
            row = int(other[0])
            raise RequestError(
                f"{part.name}, {part.line(row)}: column {name!r} (data.static) changes from {str(column[0])!r} to "
                f"{str(column[row])!r}{part.whose}; a static feature is constant within a series, others are data.past "
                "or data.known"
            )
        numeric = column.dtype.is_numeric()
        found.append(float(part.numbers([name], fill=False, key="data.static")[0, 0]) if numeric else str(column[0]))
    return tuple(found)


def waves_of(clock: Clock, rows: int) -> np.ndarray:
    """Return the calendar features of the first ``rows`` steps of a clock, ``(rows, K)``."""
    return calendar_features(clock.grid(max(rows, 2)))[1][:rows]  # of one step, its length is unknown
