"""Grids whose cells are shaded by a share, such as a confusion matrix."""

from __future__ import annotations

from matplotlib.colors import LinearSegmentedColormap

from cellstate.plotting.theme import Theme

NAME_WIDTH = 1.1  # inches of the name of a row or column


def shades(theme: Theme) -> LinearSegmentedColormap:
    """Return the shades of shares from 0, which must still be seen as a cell, to 1."""
    return LinearSegmentedColormap.from_list("shares", [theme.mixed(theme.surface, 0.06), theme.run])
