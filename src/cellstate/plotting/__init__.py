"""Figures in a common style, with a light and a dark theme."""
