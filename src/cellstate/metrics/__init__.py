"""Scores over a whole split, and what trivial predictors reach."""
