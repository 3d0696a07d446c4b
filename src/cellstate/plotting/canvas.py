"""Figure layout: titles above, labels at the ends of lines, margins that fit their labels.

Uses only matplotlib's object-oriented interface: no pyplot, no global state.
"""

from __future__ import annotations

import io
import itertools
import math
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D, ScaledTranslation
from PIL import Image

from cellstate.plotting.theme import Theme, channels

DPI = 200  # pixels an inch; pages show 100, so figures are sharp on high-density screens
WIDTH = 5.6  # inches
FULL_WIDTH = 11.5  # inches of a figure as wide as the page
MARGIN = 0.14  # inches around everything
TITLE, SUBTITLE, AXIS = 0.30, 0.26, 0.46  # inches of title, subtitle and x axis
LABEL_GAP = 14  # points between axes and end labels
LABEL_HEIGHT = 12  # points from one label to the next
LONGEST = 30  # characters of a name


class End(NamedTuple):
    """A label at the right end of the axes, at data coordinate ``y``."""

    y: float
    text: str
    colour: str


def render(draw: Callable[[Theme], Figure], theme: Theme, *, heat: bool = False) -> bytes:
    """Return a drawing as PNG with the theme's palette: a third of the size and time of full colour.

    With ``heat`` the palette includes the colour maps of heat maps.
    """
    with matplotlib.rc_context(theme.rc()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # scripts that the font lacks appear as boxes
        canvas = draw(theme).canvas
        assert isinstance(canvas, FigureCanvasAgg)
        canvas.draw()
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for colour in theme.palette(heat=heat) for channel in channels(colour)])
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    buffer = io.BytesIO()
    image.quantize(palette=palette, dither=Image.Dither.NONE).save(buffer, "PNG", dpi=(DPI, DPI))
    return buffer.getvalue()


def new_figure(theme: Theme, height: float, title: str, subtitle: str = "", *, width: float = WIDTH) -> Figure:
    """Return an empty figure, ``height`` inches high, with a title and a subtitle."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=theme.surface)
    FigureCanvasAgg(figure)
    write_line(figure, height - MARGIN, title, size=11, weight="bold")
    write_line(figure, height - MARGIN - TITLE + 0.06, subtitle, color=theme.muted)
    return figure


def write_line(figure: Figure, top: float, text: str, **style: Any) -> None:
    """Write one line at the left edge, ``top`` inches above the bottom, truncated to the width of the figure."""
    width, height = figure.get_size_inches()
    shown = shortened(figure, text, width - 2 * MARGIN, **style)
    figure.text(MARGIN / width, top / height, shown, va="top", **style)


def shortened(figure: Figure, text: str, inches: float, **style: Any) -> str:
    """Return a text truncated to a width in inches."""
    line = figure.text(0, 0, text, **style)
    while line.get_window_extent(renderer(figure)).width > inches * DPI:
        line.set_text(line.get_text().rstrip("…")[:-2].rstrip() + "…")
    line.remove()
    return line.get_text()


def add_axes(figure: Figure, bottom: float, top: float) -> Axes:
    """Return axes between two heights in inches; ``fit`` sets their left and right end."""
    height = figure.get_size_inches()[1]
    return figure.add_axes((0.1, bottom / height, 0.8, (top - bottom) / height))


def single_axes(figure: Figure) -> Axes:
    """Return axes that fill the space between subtitle and x axis."""
    return add_axes(figure, MARGIN + AXIS, figure.get_size_inches()[1] - MARGIN - TITLE - SUBTITLE)


def row_figure(
    theme: Theme,
    rows: float,
    title: str,
    subtitle: str,
    *,
    limits: tuple[float, float],
    below: float = AXIS,
    above: float = 0.0,
    width: float = WIDTH,
) -> tuple[Figure, Axes]:
    """Return a figure and axes for horizontal rows, whose grid lines are vertical.

    ``limits`` are the y limits, bottom and top; ``rows``, ``below`` (x axis) and ``above`` are heights in inches.
    """
    heads = TITLE + SUBTITLE + above
    height = 2 * MARGIN + heads + below + rows
    figure = new_figure(theme, height, title, subtitle, width=width)
    axes = add_axes(figure, MARGIN + below, height - MARGIN - heads)
    axes.set_ylim(*limits)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    return figure, axes


def row_value(axes: Axes, row: float, text: str, colour: str, **style: Any) -> None:
    """Write a value at the right end of a row."""
    axes.annotate(
        text, (1, row), xycoords=("axes fraction", "data"), xytext=(10, 0), textcoords="offset points",
        va="center_baseline", color=colour, annotation_clip=False, **style,
    )  # fmt: skip


def fit(figure: Figure) -> Figure:
    """Set a common left and right end of all axes so that tick labels and end labels just fit."""
    measure = renderer(figure)
    width = figure.get_size_inches()[0] * DPI
    left, right = 0.0, 0.1 * DPI
    for axes in figure.axes:
        ticks = axes.yaxis.get_tightbbox(measure)
        left = max(left, axes.bbox.x0 - ticks.x0 if ticks else 0.0)
        extents = [text.get_window_extent(measure).x1 for text in axes.texts if text.get_text()]
        right = max([right, *(extent - axes.bbox.x1 for extent in extents)])
    start, end = (MARGIN * DPI + left) / width, 1 - (MARGIN * DPI + right) / width
    for axes in figure.axes:
        place = axes.get_position()
        axes.set_position((start, place.y0, end - start, place.height))
    return figure


def fit_below(figure: Figure) -> Figure:
    """Rotate the x tick labels of single axes if they would overlap, and make room for them.

    For axes without end labels, whose positions depend on the height.
    """
    (axes,), measure = figure.axes, renderer(figure)
    labels = axes.get_xticklabels()
    room = axes.bbox.width / max(len(labels), 1)
    if any(label.get_window_extent(measure).width > 0.95 * room for label in labels):
        axes.tick_params(axis="x", labelrotation=90)
    place, written = axes.get_position(), axes.xaxis.get_tightbbox(measure)
    below = axes.bbox.y0 - written.y0 if written else 0.0
    bottom = (MARGIN * DPI + below) / (figure.get_size_inches()[1] * DPI)
    axes.set_position((place.x0, bottom, place.width, place.y1 - bottom))
    return figure


def label_ends(axes: Axes, ends: Iterable[End]) -> None:
    """Write labels at the right end of the axes, moved as little as needed to avoid overlaps.

    The y limits must be set before.
    """
    ordered = sorted(ends, key=lambda end: end.y)
    if not ordered:
        return
    # Offset in points from the lower right corner, which ``fit`` may still move.
    anchor = Affine2D().scale(DPI / 72) + ScaledTranslation(1, 0, axes.transAxes)  # pyright: ignore[reportArgumentType]
    wanted = [float(axes.transData.transform((0, end.y))[1] - axes.bbox.y0) * 72 / DPI for end in ordered]
    places = spread(wanted, LABEL_HEIGHT, (0, axes.bbox.height * 72 / DPI))
    for end, height, place in zip(ordered, wanted, places, strict=True):
        axes.text(LABEL_GAP, place, end.text, va="center_baseline", color=end.colour, transform=anchor)
        leader = Line2D([2, LABEL_GAP - 2], [height, place], color=end.colour, lw=0.6, alpha=0.6, transform=anchor)
        leader.set_clip_on(False)
        axes.add_artist(leader)


def spread(wanted: Sequence[float], distance: float, limits: tuple[float, float]) -> list[float]:
    """Return positions close to ``wanted`` (ascending), at least ``distance`` apart and within ``limits``.

    With g_i = w_i - i d this is the least-squares fit of an ascending sequence to g, found by pooling adjacent
    violators (Barlow et al., 1972), clipped to the limits, with i d added again. If space is short, ``distance``
    shrinks.
    """
    low, high = limits
    distance = min(distance, (high - low) / max(len(wanted) - 1, 1))
    highest = high - (len(wanted) - 1) * distance
    pools: list[list[float]] = []  # sum and number of the members of each pool
    for number, height in enumerate(wanted):
        pools.append([height - number * distance, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            total, members = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += members
    fitted = [total / members for total, members in pools for _ in range(int(members))]
    return [min(max(value, low), highest) + number * distance for number, value in enumerate(fitted)]


def scale_y(axes: Axes, values: Iterable[float], *, log_from: float = math.inf) -> None:
    """Set y limits and ticks for ``values``; logarithmic if max / min is at least ``log_from``."""
    _scale(axes, "y", values, log_from, 0.06)


def scale_x(axes: Axes, values: Iterable[float], *, log_from: float = math.inf) -> None:
    """Set x limits and ticks likewise."""
    _scale(axes, "x", values, log_from, 0.04)


def _scale(axes: Axes, which: Literal["x", "y"], values: Iterable[float], log_from: float, share: float) -> None:
    finite = [float(value) for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    logarithmic = low > 0 and high / low >= log_from
    if logarithmic:
        room = (high / low) ** share
        low, high = low / room, high * room
        ticks = log_ticks(low, high)
        labels = [compact(tick) for tick in ticks]
    else:
        room = (high - low) * share or abs(high) * 0.05 or 1.0
        low, high = low - room, high + room
        ticks = round_ticks(low, high)
        labels = plain_numbers(ticks)
    shown = [(tick, label) for tick, label in zip(ticks, labels, strict=True) if low <= tick <= high]
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log" if logarithmic else "linear", f"{which}lim": (low, high)})
    axis.set_ticks([], minor=True)
    axis.set_ticks([tick for tick, _ in shown], [label for _, label in shown])


def round_ticks(low: float, high: float) -> list[float]:
    """Return about five evenly spaced round numbers that cover ``low`` to ``high``."""
    return [float(tick) for tick in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return three to seven round numbers from ``low`` to ``high``, both positive."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) > 7:
            return ticks[:: math.ceil(len(ticks) / 7)]
        if len(ticks) >= 3:
            return ticks
    return [float(tick) for tick in MaxNLocator(4).tick_values(low, high) if tick > 0]


def compact(tick: float) -> str:
    """Return a tick of a logarithmic axis: 20k for 20,000, 3M for 3,000,000."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if 10_000 <= tick < 1e10 and tick >= unit:
            return f"{tick / unit:g}{letter}"
    return f"{tick:g}"


def plain_numbers(ticks: Sequence[float]) -> list[str]:
    """Format evenly spaced numbers with as many decimals as needed."""
    step = min((abs(b - a) for a, b in itertools.pairwise(ticks)), default=1.0) or 1.0
    if max(map(abs, ticks), default=0) >= 1e6 or step < 1e-5:
        return [f"{tick:g}".replace("-", "\u2212") for tick in ticks]
    decimals = next(digits for digits in range(7) if abs(round(step, digits) - step) < step * 1e-6 or digits == 6)
    return [f"{tick:,.{decimals}f}".replace("-", "\u2212") for tick in ticks]


def whole_ticks(axes: Axes, first: int, last: int, label: str) -> None:
    """Set an x axis of whole numbers from ``first`` to ``last``."""
    room = max(0.02 * (last - first), 0.3 if first == last else 0.0)
    axes.set_xlim(first - room, last + room)
    ticks = MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]).tick_values(first, last) if last > first else [first]
    inside = [int(tick) for tick in ticks if first <= tick <= last]
    if first == 1:  # counts start at 1, whose label must not touch the next
        inside = [1] + [tick for tick in inside if tick - 1 > (last - 1) / 12]
    axes.set_xticks(inside, [f"{tick:,}".replace("-", "\u2212") for tick in inside])
    axes.set_xlabel(label)


def name(text: str, longest: int = LONGEST) -> str:
    """Return an untrusted name as one short line of printable characters."""
    line = " ".join(text.split())
    line = "".join("\ufffd" if unicodedata.category(character).startswith("C") else character for character in line)
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def renderer(figure: Figure):  # noqa: ANN201 (matplotlib names no type)
    """Return the renderer, which measures texts."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    return canvas.get_renderer()
