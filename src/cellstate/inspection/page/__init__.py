"""The page of an opened network: gates and states through time, gradients, memory, and a walk step by step."""

from cellstate.inspection.page.page import write

__all__ = ["write"]
