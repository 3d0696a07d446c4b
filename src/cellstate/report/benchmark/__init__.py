"""The page of a benchmark: mean ranks, and methods beside references and published figures on each data set."""

from cellstate.report.benchmark.page import write

__all__ = ["write"]
