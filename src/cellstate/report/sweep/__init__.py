"""The page of a sweep: leaderboard, parameter importance, learning curves and costs."""

from cellstate.report.sweep.page import write

__all__ = ["write"]
