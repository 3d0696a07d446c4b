"""Users' time series: one or more columns of a CSV or Parquet file, of one series or of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from typing_extensions import override

from cellstate.config.types import PositiveInt
from cellstate.data.files.clock import Clock, calendar_features
from cellstate.data.files.customary import Benchmark, recognise
from cellstate.data.files.table import Table, read_table
from cellstate.data.synthetic.seasonal import seasonal
from cellstate.data.windows import Series, Split, WindowedData, split_borders
from cellstate.errors import RequestError


class SeriesData(WindowedData):
    """Windows of the target columns of a table with a row a time step.

    How windows are split and scaled, and how covariates stand in them, says ``WindowedData``.

    Args:
        path: a CSV or Parquet file; None takes the synthetic series of ``data=seasonal``.
        target: the column to forecast, or a list of columns; None takes the only numeric one.
        id: the column that tells several series apart, whose rows may be in any order; None: all rows are one series.
        past: columns to look at besides, which are known in the past alone.
        known: columns whose values are known ahead, such as plans, prices and holidays.
        calendar: look at the time of day, the weekday and the time of the year too, as known ahead.
        time: the column that holds the time; None takes the first column of dates, and does without if there is none.
            Numbers (years, seconds since 1970) are times only where they are named here.
        time_format: how times are written, such as ``%d/%m/%Y %H:%M``; None finds out.
        decimal: the mark of decimals; None takes a comma where a column of numbers has some.
        missing: what to do about empty cells and skipped time steps: ``error`` names the lines and stops,
            ``fill`` repeats the last value before them (which looks at no future value).
        window: steps that the forecaster sees; None takes 14 seasons, fewer where the series is short.
        horizon: steps to forecast; None takes one season.
        season: steps a season; None takes it from the time column (hours: 24, days: 7, months: 12, …), else from the
            training rows, where they have one; 1 is none.
        split: training, validation and test as shares or as numbers of rows, in order of time, of each series; None
            takes [0.7, 0.1, 0.2], and for the public ETT files the split that is customary for them.
        short: what to do about series without a sample in each split: ``error`` names one, ``skip`` leaves them out.
        batch_size: windows in one batch.
        seed: decides the order of the training windows.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        target: str | Sequence[str] | None = None,
        id: str | None = None,
        past: str | Sequence[str] | None = None,
        known: str | Sequence[str] | None = None,
        calendar: bool = False,
        time: str | None = None,
        time_format: str | None = None,
        decimal: Literal[".", ","] | None = None,
        missing: Literal["error", "fill"] = "error",
        window: PositiveInt | None = None,
        horizon: PositiveInt | None = None,
        season: PositiveInt | None = None,
        split: Split | None = None,
        short: Literal["error", "skip"] = "error",
        batch_size: PositiveInt = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(window=window, horizon=horizon, split=split, short=short, batch_size=batch_size, seed=seed)
        self.path, self.target, self.id, self.past, self.known = path, target, id, past, known
        self.calendar, self.time, self.time_format = calendar, time, time_format
        self.decimal: Literal[".", ","] | None = decimal
        self.missing, self.season = missing, season
        self._benchmark: Benchmark | None = None

    @override
    def series(self) -> Series:
        if self.path is None:
            return seasonal(seed=self.seed)
        table = read_table(self.path, key="data.path", decimal=self.decimal)
        columns = self._columns(table)
        names = [name for group in columns.values() for name in group]
        found = table.times(self.time, self.time_format, exclude=[*names, *listed(self.id)])
        parts = table.series(self.id)
        blocks, clocks = [], []
        for part in parts.values():
            clock = None if found is None else Clock(part, found[0], part.of_file(found[1]))
            blocks.append(self._block(part, columns, clock))
            clocks.append(clock)
        self._check_steps(list(parts), clocks)
        clock = clocks[0]
        self._benchmark = None if self.id else recognise(set(table.columns), len(table))
        values = np.concatenate(blocks)
        targets, past = len(columns["data.target"]), tuple(columns["data.past"])
        known = (*columns["data.known"], *(calendar_features(clock.grid())[0] if self.calendar and clock else ()))
        season = clock.season if clock is not None and clock.season > 1 else None
        return Series(
            values[:, :targets],
            tuple(columns["data.target"]),
            self.season or season,
            self._facts(table, columns, clock, len(parts)),
            source=self.path,
            ids=tuple(parts) if self.id else (),
            lengths=tuple(map(len, blocks)) if self.id else (),
            past=past,
            known=known,
            covariates=values[:, targets:] if past or known else None,
        )

    @override
    def borders(self, rows: int) -> list[int]:
        if self.split is None and self._benchmark is not None:
            return split_borders(rows, self._benchmark.split)
        return super().borders(rows)

    def _columns(self, table: Table) -> dict[str, list[str]]:
        """Return the columns to read, by the key that names them."""
        past, known = listed(self.past), listed(self.known)
        if self.target is None:
            beside = [*past, *known, *(name for name in (self.id, self.time) if name)]
            found = table.times(self.time, self.time_format, exclude=beside)
            targets = [table.only_numeric_column("data.target", exclude=[*beside, *([found[0]] if found else [])])]
        else:
            targets = listed(self.target)
        if not targets or len(set(targets)) < len(targets):
            shown = ",".join(targets)
            raise RequestError(f"data.target=[{shown}]: name one column or several different ones, such as [a,b]")
        columns = {"data.target": targets, "data.past": past, "data.known": known}
        keys: dict[str, str] = {}
        for key, names in (*columns.items(), ("data.id", listed(self.id)), ("data.time", listed(self.time))):
            for name in names:
                if name in keys:
                    raise RequestError(f"column {name!r} is named by {keys[name]} and by {key}; name it once")
                keys[name] = key
        return columns

    def _block(self, part: Table, columns: dict[str, list[str]], clock: Clock | None) -> np.ndarray:
        """Return the values of one series, a row a step: targets, past, known and calendar."""
        fill = self.missing == "fill"
        values = np.hstack([part.numbers(names, fill=fill, key=key) for key, names in columns.items()])
        if clock is None:
            if self.calendar:
                raise RequestError(
                    f"{self.path}: data.calendar=true needs times, and there are none; set data.time=COLUMN"
                )
            return values
        values = clock.regular(values, fill=fill)
        return np.hstack([values, calendar_features(clock.grid())[1]]) if self.calendar else values

    def _check_steps(self, ids: Sequence[str], clocks: Sequence[Clock | None]) -> None:
        for name, clock in zip(ids, clocks, strict=True):
            if clock is not None and clocks[0] is not None and clock.step != clocks[0].step:
                raise RequestError(
                    f"{self.path}: series {name!r} has a row every {clock.step}, and series {ids[0]!r} one every "
                    f"{clocks[0].step}; bring them to one step"
                )

    def _facts(self, table: Table, columns: dict[str, list[str]], clock: Clock | None, parts: int) -> tuple[str, ...]:
        names = [name for group in columns.values() for name in group]
        several = f" in {parts:,} series" if self.id else ""
        first = f"{self.path}: {len(table):,} rows{several}, forecasting {', '.join(columns['data.target'])}"
        facts = [first if clock is None else f"{first}, one every {clock.step}"]
        for key, words in (("data.past", "known in the past"), ("data.known", "known ahead")):
            if columns[key]:
                facts[0] += f"; {words}: {', '.join(columns[key])}"
        commas = [name for name in names if name in table.decimal_commas]
        if commas:
            facts.append(f"decimal commas in {', '.join(commas)} (data.decimal='.' takes them for thousands)")
        maybe = table.possible_times([*names, *listed(self.id)]) if clock is None else []
        if maybe:
            facts.append(
                f"no time column recognised: if {' or '.join(maybe)} holds the time, set data.time=COLUMN and, where "
                "that is not enough, data.time_format"
            )
        if self._benchmark is not None and self.split is None:
            facts.append(f"recognised as {self._benchmark.name}: split by convention, {self._benchmark.source}")
        return tuple(facts)


def listed(names: str | Sequence[str] | None) -> list[str]:
    """Return one name, several or none as a list."""
    return [] if names is None else [names] if isinstance(names, str) else list(names)
