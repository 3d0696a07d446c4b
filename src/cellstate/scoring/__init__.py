"""Scoring: one way to open a checkpoint, and to evaluate and predict with it."""
