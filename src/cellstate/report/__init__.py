"""What people look at: the table at the end of a run, its figures, and the page ``report.html``."""

from cellstate.report.page import write

__all__ = ["write"]
