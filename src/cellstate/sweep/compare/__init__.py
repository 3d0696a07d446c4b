"""Controlled comparisons: the same data, seeds and sizes, and whether a difference is shown."""
