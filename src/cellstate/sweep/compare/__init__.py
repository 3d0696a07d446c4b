"""Controlled comparisons: equal data, seeds and sizes, with significance tests."""
