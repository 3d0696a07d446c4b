"""Public benchmark files whose split is fixed by custom, so that results compare with those in print."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """A file known by its columns and its number of rows, and the rows of training, validation and test."""

    name: str
    columns: frozenset[str]
    rows: int
    split: tuple[int, int, int]
    source: str


_ETT = frozenset({"HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"})
_HOURS = 30 * 24  # ETT counts months of 30 days: 12 train, 4 validate, 4 test
_QUARTERS = 4 * _HOURS
_SOURCE = "12, 4 and 4 months of 30 days (Zhou et al., Informer, 2021)"

BENCHMARKS = (
    Benchmark("ETT, hourly", _ETT, 17_420, (12 * _HOURS, 4 * _HOURS, 4 * _HOURS), _SOURCE),
    Benchmark("ETT, every 15 minutes", _ETT, 69_680, (12 * _QUARTERS, 4 * _QUARTERS, 4 * _QUARTERS), _SOURCE),
)


def recognise(columns: set[str], rows: int) -> Benchmark | None:
    """Return the benchmark that a table is, by its columns and its exact number of rows, or None."""
    for benchmark in BENCHMARKS:
        if benchmark.columns <= columns and benchmark.rows == rows:
            return benchmark
    return None
