"""Metrics of a split, and the scores of baselines."""
