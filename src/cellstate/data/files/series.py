"""A user's time series: one or more columns of a CSV or Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from typing_extensions import override

from cellstate.annotations import PositiveInt
from cellstate.data.files.customary import Benchmark, recognise
from cellstate.data.files.table import Table, read_table
from cellstate.data.synthetic.seasonal import seasonal
from cellstate.data.windows import Series, Split, WindowedData, split_borders
from cellstate.errors import RequestError


class SeriesData(WindowedData):
    """Windows of the target columns of a table with a row a time step.

    Args:
        path: a CSV or Parquet file; None takes the synthetic series of ``data=seasonal``.
        target: the column to forecast, or a list of columns; None takes the only numeric one.
        time: the column that holds the time; None takes the first column of dates, and does without if there is none.
        missing: what to do about empty cells and skipped time steps: ``error`` names the lines and stops,
            ``fill`` repeats the last value before them (which looks at no future value).
        window: steps that the forecaster sees; None takes 14 seasons, fewer where the series is short.
        horizon: steps to forecast; None takes one season.
        season: steps a season; None takes it from the time column (hours: 24, days: 7, months: 12, …), else 1.
        split: training, validation and test as shares or as numbers of rows, in order of time; None takes
            [0.7, 0.1, 0.2], and for the public ETT files the split that is customary for them.
        batch_size: windows in one batch.
        seed: decides the order of the training windows.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        target: str | Sequence[str] | None = None,
        time: str | None = None,
        missing: Literal["error", "fill"] = "error",
        window: PositiveInt | None = None,
        horizon: PositiveInt | None = None,
        season: PositiveInt | None = None,
        split: Split | None = None,
        batch_size: PositiveInt = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(window=window, horizon=horizon, split=split, batch_size=batch_size, seed=seed)
        self.path, self.target, self.time, self.missing, self.season = path, target, time, missing, season
        self._benchmark: Benchmark | None = None

    @override
    def series(self) -> Series:
        if self.path is None:
            return seasonal(seed=self.seed)
        table = read_table(self.path, key="data.path")
        self._benchmark = recognise(set(table.columns), len(table))
        names = self._targets(table)
        values = table.numbers(names, fill=self.missing == "fill")
        clock = table.clock(self.time)
        facts = [f"{self.path}: {len(table):,} rows, forecasting {', '.join(names)}"]
        if clock is not None:
            values = clock.regular(values, fill=self.missing == "fill")
            facts[0] += f", one every {clock.step}"
        if self._benchmark is not None and self.split is None:
            facts.append(f"recognised as {self._benchmark.name}: split by custom, {self._benchmark.source}")
        season = self.season or (clock.season if clock is not None else 1)
        return Series(values, tuple(names), season, tuple(facts), source=self.path)

    @override
    def borders(self, rows: int) -> list[int]:
        if self.split is None and self._benchmark is not None:
            return split_borders(rows, self._benchmark.split)
        return super().borders(rows)

    def _targets(self, table: Table) -> list[str]:
        if self.target is None:
            return [table.only_numeric_column(key="data.target")]
        names = [self.target] if isinstance(self.target, str) else list(self.target)
        if not names or len(set(names)) < len(names):
            shown = ",".join(names)
            raise RequestError(f"data.target=[{shown}]: name one column or several different ones, such as [a,b]")
        return names
