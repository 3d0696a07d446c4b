"""The page of an inspection: gates and states over time, gradients, memory, and a walk step by step."""

from cellstate.inspection.page.page import write

__all__ = ["write"]
