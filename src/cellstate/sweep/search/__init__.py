"""Searches: sweeps whose jobs are proposed one after the other, by what those before reached."""
