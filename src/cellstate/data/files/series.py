"""User-provided time series: a CSV or Parquet file with one or several series, and optionally one that continues it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from typing_extensions import override

from cellstate.config.types import NonNegativeInt, PositiveInt
from cellstate.data.cutting import Short
from cellstate.data.files.clock import Clock, calendar_features
from cellstate.data.files.customary import Benchmark, recognise
from cellstate.data.files.layouts import Layout, SeriesFormat, listed
from cellstate.data.files.series_file import Part, SeriesFile
from cellstate.data.season import check_seasons
from cellstate.data.splitting import Series, Split, split_borders
from cellstate.data.synthetic.seasonal import seasonal
from cellstate.data.windows import WindowedData
from cellstate.errors import RequestError


class SeriesData(WindowedData):
    """Windows of the series in a table: a row per time step, or wide, with a row or a column for each series.

    See ``WindowedData`` for splits, scaling, covariates and scores.

    Args:
        path: a CSV or Parquet file; None uses the synthetic series of ``data=seasonal``.
        test_path: a file of the same layout that continues each series of ``path``, whose ids may be in any order: all
            of its rows are the test split. ``split`` is then of the rows before; None uses the last ``horizon`` rows of
            each series (of a single series an eighth) for validation.
        layout: ``long``: a row per time step. ``rows``: a row for each series, its id in the first column (or ``id``)
            and then its values, with empty cells at the end of shorter series. ``columns``: a column for each series,
            of which some may begin later or end earlier, and optionally a time column. None recognises it, if none of
            ``target``, ``id``, ``past`` and ``known`` is given: ``rows`` if the first column has unique ids that are
            neither numbers nor times and all others are numeric, ``columns`` if at least two columns are numeric and
            there is nothing else but a time column.
        target: the column to forecast, or a list of columns; None uses the only numeric one.
        id: the column that identifies the series, whose rows may be in any order; None: all rows are one series.
        past: further input columns, known only in the past.
        known: further input columns known in advance, such as plans, prices and holidays.
        static: columns that are constant within a series, such as its region: numbers, or text as categories.
        ids: above 0, windows also say which series they are of, for ``model.id_embedding``, from which it follows.
        calendar: add time of day, weekday and time of the year as inputs known in advance.
        time: the time column; None uses the first date column, if any. Numbers (years, seconds since 1970) are times
            only if selected here.
        time_format: the format of times, such as ``%d/%m/%Y %H:%M``; None infers it.
        decimal: the decimal separator; None infers it for each column.
        missing: treatment of empty cells and missing time steps: ``error`` raises an error that names the lines,
            ``fill`` repeats the last value before them (which uses no future value).
        window: input steps; None uses 14 seasons, fewer if the series is short.
        horizon: steps to forecast; None uses one season.
        season: steps per season, or of each of several, such as [24, 168]; None derives it from the time column (hours:
            24, days: 7, months: 12, …), else infers it from the training rows; 1 is no season. To a single one, the
            week of days is added if training rows are as similar that far apart (``data.season.second_season``).
        split: training, validation and test as shares or numbers of rows, chronologically within each series, or the
            last rows of each series, ``{"val": 48, "test": 48}``; None uses [0.7, 0.1, 0.2] (see ``WindowedData`` for
            several short series), and for the public ETT files their conventional split.
        short: treatment of series that are shorter than a window: ``pad``, ``error`` or ``skip``; see ``WindowedData``.
        classical: add the references AutoTheta and AutoETS of statsforecast, which must be installed.
        batch_size: windows per batch; None uses 64, or 256 for many windows of series whose levels differ.
        seed: determines the order of the training windows.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        test_path: str | None = None,
        layout: Layout | None = None,
        target: str | Sequence[str] | None = None,
        id: str | None = None,
        past: str | Sequence[str] | None = None,
        known: str | Sequence[str] | None = None,
        static: str | Sequence[str] | None = None,
        ids: NonNegativeInt = 0,
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
        classical: bool = False,
        batch_size: PositiveInt | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            window=window,
            horizon=horizon,
            split=split,
            short=short,
            classical=classical,
            batch_size=batch_size,
            seed=seed,
        )
        self.path, self.test_path, self.season = path, test_path, season
        self.form = SeriesFormat(layout, target, id, past, known, static, calendar, time, time_format, decimal, missing)
        self.ids = ids
        self._benchmark: Benchmark | None = None

    @override
    def series(self) -> Series:
        check_seasons(self.season)
        if self.path is None:
            if self.test_path is not None:
                raise RequestError(f"data.test_path={self.test_path}: it continues data.path, which is not given")
            return seasonal(seed=self.seed)
        file = SeriesFile(self.path, "data.path", self.form)
        parts = file.parts()
        check_steps(self.path, parts)
        facts = file.described(parts)
        self._benchmark = None
        if not file.form.id and self.test_path is None:
            self._benchmark = recognise(set(file.table.columns), len(file.table))
        if self._benchmark is not None and self.split is None:
            facts.append(f"recognised as {self._benchmark.name}: split by convention, {self._benchmark.source}")
        later: Mapping[str, Part] = {}
        if self.test_path is not None:
            later = SeriesFile(self.test_path, "data.test_path", self.form, like=file).parts(after=parts)
            facts.append(continued(self.test_path, later))
        return self._joined(file, parts, later, tuple(facts))

    def _joined(
        self, file: SeriesFile, parts: Mapping[str, Part], later: Mapping[str, Part], facts: tuple[str, ...]
    ) -> Series:
        """Return all series, each followed by the rows of the file that continues it."""
        blocks = [
            np.concatenate([part.values, later[name].values]) if later else part.values for name, part in parts.items()
        ]
        values, clock = np.concatenate(blocks), next(iter(parts.values())).clock
        past, known = (tuple(file.columns.get(key, ())) for key in ("data.past", "data.known"))
        known = (*known, *(calendar_features(clock.grid())[0] if self.form.calendar and clock else ()))
        targets = len(file.targets)
        return Series(
            values[:, :targets],
            file.targets,
            self.season or (clock.season if clock is not None and clock.season > 1 else None),
            facts,
            source=str(self.path),
            ids=tuple(parts) if file.several else (),
            lengths=tuple(map(len, blocks)) if file.several else (),
            past=past,
            known=known,
            covariates=values[:, targets:] if past or known else None,
            static=tuple(listed(self.form.static)),
            static_values=tuple(part.static for part in parts.values()) if self.form.static else (),
            identified=self.ids > 0 and len(parts) > 1,
            test_rows=tuple(len(part.values) for part in later.values()),
        )

    @property
    @override
    def borders(self) -> Callable[[int], list[int]] | None:
        benchmark = self._benchmark
        if self.split is None and benchmark is not None:
            return lambda rows: split_borders(rows, benchmark.split)
        return super().borders


def check_steps(path: str, parts: Mapping[str, Part]) -> None:
    """Reject series of different steps (RequestError)."""
    clocks: dict[str, Clock] = {name: part.clock for name, part in parts.items() if part.clock is not None}
    for name, clock in clocks.items():
        first, other = next(iter(clocks.items()))
        if clock.step != other.step:
            raise RequestError(
                f"{path}: series {name!r} has one row per {clock.step}, but series {first!r} one per "
                f"{other.step}; resample them to the same step"
            )


def continued(path: str, later: Mapping[str, Part]) -> str:
    """Return a fact on the file that continues each series."""
    rows = [len(part.values) for part in later.values()]
    count = f"{min(rows):,}" if min(rows) == max(rows) else f"{min(rows):,} to {max(rows):,}"
    whose = "each series" if len(later) > 1 else "the series"
    return f"{path}: continues {whose} with {count} rows, which are the test split"
