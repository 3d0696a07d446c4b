"""Regression: one or several values per sequence."""
