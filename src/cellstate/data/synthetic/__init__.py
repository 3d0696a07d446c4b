"""Generators whose best possible score is known."""
