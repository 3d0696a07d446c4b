"""The page of a sweep: which configuration is best, how sure that is, and what made the difference."""

from cellstate.report.sweep.page import write

__all__ = ["write"]
