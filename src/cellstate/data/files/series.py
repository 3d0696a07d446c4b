"""User-provided time series: one or more columns of a CSV or Parquet file with one or several series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from typing_extensions import override

from cellstate.config.types import PositiveInt
from cellstate.data.cutting import Short
from cellstate.data.files.clock import Clock, calendar_features
from cellstate.data.files.customary import Benchmark, recognise
from cellstate.data.files.table import Table, read_table
from cellstate.data.splitting import Series, Split, split_borders
from cellstate.data.synthetic.seasonal import seasonal
from cellstate.data.windows import WindowedData
from cellstate.errors import RequestError


class SeriesData(WindowedData):
    """Windows of the target columns of a table with one row per time step.

    See ``WindowedData`` for splits, scaling and covariates.

    Args:
        path: a CSV or Parquet file; None uses the synthetic series of ``data=seasonal``.
        target: the column to forecast, or a list of columns; None uses the only numeric one.
        id: the column that identifies the series, whose rows may be in any order; None: all rows are one series.
        past: further input columns, known only in the past.
        known: further input columns known in advance, such as plans, prices and holidays.
        calendar: add time of day, weekday and time of the year as inputs known in advance.
        time: the time column; None uses the first date column, if any. Numbers (years, seconds since 1970) are times
            only if selected here.
        time_format: the format of times, such as ``%d/%m/%Y %H:%M``; None infers it.
        decimal: the decimal separator; None infers it for each column.
        missing: treatment of empty cells and missing time steps: ``error`` raises an error that names the lines,
            ``fill`` repeats the last value before them (which uses no future value).
        window: input steps; None uses 14 seasons, fewer if the series is short.
        horizon: steps to forecast; None uses one season.
        season: steps per season; None derives it from the time column (hours: 24, days: 7, months: 12, …), else infers
            it from the training rows; 1 is no season.
        split: training, validation and test as shares or numbers of rows, chronologically within each series; None uses
            [0.7, 0.1, 0.2], and for the public ETT files their conventional split.
        short: treatment of series without a sample in each split: ``error`` raises an error that names one, ``skip``
            ignores them.
        batch_size: windows per batch.
        seed: determines the order of the training windows.
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
        season: PositiveInt | Sequence[PositiveInt] | None = None,
        split: Split | None = None,
        short: Short | None = None,
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

    @property
    @override
    def borders(self) -> Callable[[int], list[int]] | None:
        benchmark = self._benchmark
        if self.split is None and benchmark is not None:
            return lambda rows: split_borders(rows, benchmark.split)
        return super().borders

    def _columns(self, table: Table) -> dict[str, list[str]]:
        """Return the columns to read, by config key."""
        past, known = listed(self.past), listed(self.known)
        if self.target is None:
            beside = [*past, *known, *(name for name in (self.id, self.time) if name)]
            found = table.times(self.time, self.time_format, exclude=beside)
            targets = [table.only_numeric_column("data.target", exclude=[*beside, *([found[0]] if found else [])])]
        else:
            targets = listed(self.target)
        if not targets or len(set(targets)) < len(targets):
            shown = ",".join(targets)
            raise RequestError(f"data.target=[{shown}]: give one or more different columns, such as [a,b]")
        columns = {"data.target": targets, "data.past": past, "data.known": known}
        keys: dict[str, str] = {}
        for key, names in (*columns.items(), ("data.id", listed(self.id)), ("data.time", listed(self.time))):
            for name in names:
                if name in keys:
                    raise RequestError(f"column {name!r} is in both {keys[name]} and {key}; remove it from one")
                keys[name] = key
        return columns

    def _block(self, part: Table, columns: dict[str, list[str]], clock: Clock | None) -> np.ndarray:
        """Return the values of one series, one row per step: targets, past, known and calendar."""
        fill = self.missing == "fill"
        values = np.hstack([part.numbers(names, fill=fill, key=key) for key, names in columns.items()])
        if clock is None:
            if self.calendar:
                raise RequestError(f"{self.path}: data.calendar=true needs a time column; set data.time=COLUMN")
            return values
        values = clock.regular(values, fill=fill)
        return np.hstack([values, calendar_features(clock.grid())[1]]) if self.calendar else values

    def _check_steps(self, ids: Sequence[str], clocks: Sequence[Clock | None]) -> None:
        for name, clock in zip(ids, clocks, strict=True):
            if clock is not None and clocks[0] is not None and clock.step != clocks[0].step:
                raise RequestError(
                    f"{self.path}: series {name!r} has one row per {clock.step}, but series {ids[0]!r} one per "
                    f"{clocks[0].step}; resample them to the same step"
                )

    def _facts(self, table: Table, columns: dict[str, list[str]], clock: Clock | None, parts: int) -> tuple[str, ...]:
        names = [name for group in columns.values() for name in group]
        several = f" in {parts:,} series" if self.id else ""
        first = f"{self.path}: {len(table):,} rows{several}, forecasting {', '.join(columns['data.target'])}"
        facts = [first if clock is None else f"{first}, one per {clock.step}"]
        for key, words in (("data.past", "known in the past"), ("data.known", "known in advance")):
            if columns[key]:
                facts[0] += f"; {words}: {', '.join(columns[key])}"
        commas = [name for name in names if name in table.decimal_commas]
        if commas:
            facts.append(f"decimal commas in {', '.join(commas)} (data.decimal='.' reads them as thousands separators)")
        maybe = table.possible_times([*names, *listed(self.id)]) if clock is None else []
        if maybe:
            facts.append(
                f"no time column recognised: if it is {' or '.join(maybe)}, set data.time=COLUMN and, if "
                "necessary, data.time_format"
            )
        if self._benchmark is not None and self.split is None:
            facts.append(f"recognised as {self._benchmark.name}: split by convention, {self._benchmark.source}")
        return tuple(facts)


def listed(names: str | Sequence[str] | None) -> list[str]:
    """Return no, one or several names as a list."""
    return [] if names is None else [names] if isinstance(names, str) else list(names)
