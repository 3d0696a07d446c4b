"""Data sets read from user-provided files."""
