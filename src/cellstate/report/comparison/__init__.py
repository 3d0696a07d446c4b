"""The page of a comparison: scores, pairwise differences, and curves over conditions."""

from cellstate.report.comparison.page import write

__all__ = ["write"]
