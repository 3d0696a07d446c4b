"""Generators with a known best possible score."""
