"""The page of a comparison: what each variant reached, which differences are shown, and where each begins to fail."""

from cellstate.report.comparison.page import write

__all__ = ["write"]
