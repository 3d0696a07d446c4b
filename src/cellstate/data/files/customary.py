"""Public benchmark files with a conventional split, so that results are comparable with published ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """A file identified by its columns and number of rows, and the rows of its conventional split."""

    name: str
    columns: frozenset[str]
    rows: int
    split: tuple[int, int, int]
    source: str


_ETT = frozenset({"HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"})
_HOURS = 30 * 24  # ETT counts months of 30 days: 12 for training, 4 for validation, 4 for test
_QUARTERS = 4 * _HOURS
_SOURCE = "12, 4 and 4 months of 30 days (Zhou et al., Informer, 2021)"

BENCHMARKS = (
    Benchmark("ETT, hourly", _ETT, 17_420, (12 * _HOURS, 4 * _HOURS, 4 * _HOURS), _SOURCE),
    Benchmark("ETT, every 15 minutes", _ETT, 69_680, (12 * _QUARTERS, 4 * _QUARTERS, 4 * _QUARTERS), _SOURCE),
)


def recognise(columns: set[str], rows: int) -> Benchmark | None:
    """Return the benchmark with these columns and this exact number of rows, or None."""
    return next((found for found in BENCHMARKS if found.columns <= columns and found.rows == rows), None)
