"""Grids shaded by a fraction, such as confusion matrices."""

from __future__ import annotations

from matplotlib.colors import LinearSegmentedColormap

from cellstate.plotting.theme import Theme

NAME_WIDTH = 1.1  # inches of a row or column name


def shades(theme: Theme) -> LinearSegmentedColormap:
    """Return the colour map of fractions from 0 (a visible cell) to 1."""
    return LinearSegmentedColormap.from_list("shares", [theme.mixed(theme.surface, 0.06), theme.run])
