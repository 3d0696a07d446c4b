"""Curves over epochs or steps from ``metrics.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes

from cellstate.metrics.predictors import OPTIMA
from cellstate.plotting.theme import Theme

Curve = tuple[list[int], list[float]]  # times, values
Clock = Literal["epoch", "step"]


def clock_of(history: Sequence[Mapping[str, float]], *, epochs: int, steps: int) -> Clock:
    """Return ``epoch`` if there is exactly one row at the end of each epoch, else ``step``.

    With E epochs and S steps, the k-th row is then of epoch k - 1 (from 0) and step k S / E.
    """
    ends = [row["epoch"] == k - 1 and row["step"] * epochs == k * steps for k, row in enumerate(history, start=1)]
    return "epoch" if all(ends) and len(ends) == epochs else "step"


def time_of(row: Mapping[str, float], clock: Clock) -> int:
    """Return the epoch, counted from 1, or the step of a row of ``metrics.csv``."""
    return int(row["epoch"]) + 1 if clock == "epoch" else int(row["step"])


def curve(history: Sequence[Mapping[str, float]], key: str, clock: Clock) -> Curve:
    """Return the times and the values of one column of ``metrics.csv``."""
    rows = [(time_of(row, clock), float(row[key])) for row in history if row.get(key) is not None]
    return [time for time, _ in rows], [value for _, value in rows]


def colour_of(theme: Theme, predictor: str) -> str:
    """Return the colour of a reference line."""
    return theme.optimum if predictor in OPTIMA else theme.muted


def draw_curve(axes: Axes, points: Curve, colour: str) -> None:
    """Plot a curve, with markers if it has few points."""
    few = len(points[0]) <= 12
    axes.plot(*points, color=colour, marker="o" if few else "", ms=4, clip_on=False)
