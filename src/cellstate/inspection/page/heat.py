"""Heat maps, units against time: states and gates of a layer, below the input sequence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cellstate.inspection.analysis import LayerStates, Units, order_by_memory
from cellstate.inspection.result import Inspection
from cellstate.model.inspector.answers import readable
from cellstate.model.inspector.reading import Reading
from cellstate.plotting import canvas
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme

MOST_UNITS = 64  # rows of a heat map
MOST_STEPS = 400  # columns
NAMES, LINES, GAP = 0.28, 0.62, 0.34  # inches: symbols or lines at the top, and between heat maps
PANEL = 128  # approximate height of a heat map, in screen pixels
FEW_UNITS = 12  # at most so many are labelled next to a heat map
BENT = 3.0  # above this largest c an asinh scale is used, so that small values stay visible
SCREEN = 100  # screen pixels per inch
BAR = 0.16  # inches of the colour bar
SIDE = 0.95  # inches right of the maps, for the colour bar
LONG_NAME = 8  # characters of a symbol along the time axis
LEFT = 0.72  # inches left of the maps
LINED = 3  # at most so many features are drawn as lines; more as a heat map
FEATURE, NAMED = 0.135, 40  # inches of a feature's row, and at most so many rows are labelled
UNSEEN = ("␣", "↵", "⇥", "␍")


@dataclass(frozen=True)
class Panel:
    """One heat map."""

    title: str
    values: np.ndarray  # (H, T)
    signed: bool  # centred on 0, else from 0 to 1
    limit: float  # of signed values, on the scale that is drawn
    rows: tuple[str, ...]  # names of the units, if they are few
    bent: bool = False  # whether asinh of the values is drawn


def drawings(found: Inspection) -> list[Drawing]:
    """Return a figure for each layer and direction."""
    return [
        Drawing(
            f"states_{layer.name}",
            caption(found, layer),
            lambda theme, layer=layer, units=units: draw(theme, found, layer, units),
            wide=True,
            heat=True,
        )
        for layer, units in zip(found.states.layers, found.units, strict=True)
    ]


def caption(found: Inspection, layer: LayerStates) -> str:
    """Return the caption of a figure."""
    order = (
        "Units sorted by time constant, the longest at the top"
        if layer.keeping is not None
        else "Units in stored order"
    )
    parts = [f"{order}; one column per {found.named(found.step)}, below its input."]
    if layer.direction == "backward":
        parts.append(f"This layer reads from the end: its state at a {found.step} depends on all inputs to the right.")
    if is_mapped(found.reading):
        parts.append("The inputs are at the top, each feature from its minimum (dark) to its maximum (yellow).")
    size = layer.h.shape[-1]
    if size > MOST_UNITS:
        parts.append(f"{MOST_UNITS} of the {size:,} units are drawn, evenly spaced in that order.")
    if found.shown_steps > MOST_STEPS:
        parts.append(f"The first {MOST_STEPS} of {found.shown_steps:,} {found.steps} are drawn.")
    return " ".join(parts)


def draw(theme: Theme, found: Inspection, layer: LayerStates, units: Units) -> Figure:
    """Draw one layer and direction."""
    panels = panels_of(found, layer, units)
    steps = panels[0].values.shape[1]
    top = canvas.MARGIN + canvas.TITLE + canvas.SUBTITLE
    names, strip_height = names_of(found.reading, steps)
    panel = panel_height(len(panels[0].values))
    height = top + strip_height + len(panels) * (panel + GAP) + canvas.AXIS + canvas.MARGIN
    kind = layer.network + (", backward" if layer.direction == "backward" else "")
    figure = canvas.new_figure(
        theme, height, f"Gates and states of {layer.name} ({kind})", found.keys[found.shown], width=canvas.FULL_WIDTH
    )
    place = height - top
    strip = wide_axes(figure, place - strip_height, place)
    draw_reading(theme, strip, found.reading, steps, names)
    place -= strip_height
    for number, shown in enumerate(panels):
        place -= GAP
        axes = wide_axes(figure, place - panel, place)
        draw_panel(theme, figure, axes, shown, found, last=number == len(panels) - 1)
        place -= panel
    return figure


def panel_height(rows: int) -> float:
    """Return the height in inches at which each row covers a whole number of screen pixels.

    A browser blends rows that share a pixel, and a blend of the colours of -1 and 1 is not the colour of any value.
    """
    return rows * max(2, round(PANEL / rows)) / SCREEN


def wide_axes(figure: Figure, bottom: float, top: float) -> Axes:
    """Return axes as wide as the page, with room for the colour bar."""
    width, height = figure.get_size_inches()
    return figure.add_axes((LEFT / width, bottom / height, (width - LEFT - SIDE) / width, (top - bottom) / height))


def panels_of(found: Inspection, layer: LayerStates, units: Units) -> list[Panel]:
    """Return the heat maps of a layer: states, then gates."""
    size = layer.h.shape[-1]
    order = np.arange(size) if layer.keeping is None else order_by_memory(units).numpy()
    if size > MOST_UNITS:
        order = order[np.linspace(0, size - 1, MOST_UNITS).round().astype(int)]
    rows = (
        tuple(canvas.name(unit_label(found, layer, unit), 12) for unit in order.tolist()) if size <= FEW_UNITS else ()
    )
    steps = min(found.shown_steps, MOST_STEPS)
    titles = {"h": "hidden state h", "c": "cell state c"}
    shown = []
    for name, tensor in layer.named().items():
        values = tensor[found.shown, :steps].double().cpu().numpy().T[order]
        is_signed = name in ("h", "c", "candidate")
        largest = max(1e-9, float(np.abs(values).max()))
        limit = 1.0 if name == "candidate" else largest
        bent = name == "c" and limit > BENT
        title = titles.get(name, name if name == "candidate" else f"{name} gate")
        if bent:
            title, values, limit = f"{title}, asinh scale", np.arcsinh(values), math.asinh(limit)
        shown.append(Panel(title, values, is_signed, limit, rows, bent))
    return shown


def unit_label(found: Inspection, layer: LayerStates, unit: int) -> str:
    """Return the label of a unit next to a heat map."""
    named = found.unit_names if layer.name == found.walk.layer.name else ()
    return named[unit] if named else str(unit)


def draw_panel(theme: Theme, figure: Figure, axes: Axes, panel: Panel, found: Inspection, *, last: bool) -> None:
    """Draw one heat map with title and colour bar."""
    rows, steps = panel.values.shape
    low, high = (-panel.limit, panel.limit) if panel.signed else (0.0, 1.0)
    colours = ListedColormap(theme.signed() if panel.signed else theme.shares())
    image = axes.imshow(
        panel.values, aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest",
        extent=(0.5, steps + 0.5, rows + 0.5, 0.5),
    )  # fmt: skip
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_title(panel.title, loc="left", fontsize=9, color=theme.ink, pad=4)
    if panel.rows:
        axes.set_yticks(range(1, rows + 1), panel.rows, fontsize=min(9.0, panel_height(rows) * 72 / rows * 0.9))
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{rows:,} units")
    time_ticks(axes, steps, found.named(found.step), shown=last)
    width, height = figure.get_size_inches()
    box = axes.get_position()
    scale = figure.add_axes((box.x1 + 0.1 / width, box.y0, BAR / width, panel_height(rows) / height))
    bar = figure.colorbar(image, cax=scale)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    ticks = [low, 0.0, high] if panel.signed else [0.0, 0.5, 1.0]
    bar.set_ticks(ticks, labels=[short_number(math.sinh(tick) if panel.bent else tick) for tick in ticks])
    scale.tick_params(length=0, pad=3)
    scale.grid(visible=False)


def short_number(value: float) -> str:
    """Return a number in three digits, with a minus sign."""
    return f"{value:.3g}".replace("-", "−")


def time_ticks(axes: Axes, steps: int, unit: str, *, shown: bool) -> None:
    """Label the steps below the last map; the others share its axis."""
    axes.set_xlim(0.5, steps + 0.5)
    if not shown:
        axes.tick_params(axis="x", length=0, labelbottom=False)
        return
    ticks = [1, *(int(tick) for tick in MaxNLocator(12, integer=True).tick_values(1, steps) if 1 < tick <= steps)]
    ticks = [tick for tick in ticks if tick == 1 or tick > steps / 40]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xlabel(unit)


def names_of(reading: Reading, steps: int) -> tuple[list[str], float]:
    """Return the symbols to write above the maps, if any, and the height of the inputs in inches."""
    if reading.values is not None and is_mapped(reading):
        return [], max(LINES, FEATURE * min(reading.values.shape[1], NAMED))
    if reading.values is not None and not few_values(reading, steps):
        return [], LINES
    names = [canvas.name(readable(one) if len(one) == 1 else one, LONG_NAME) or " " for one in reading.names[:steps]]
    return names, LINES if is_upright(names) else NAMES


def room_of(names: list[str]) -> float:
    """Return the width of a step on the time axis, in points."""
    return (canvas.FULL_WIDTH - LEFT - SIDE) * 72 / max(len(names), 1)


def is_upright(names: list[str]) -> bool:
    """Whether names are too long for horizontal labels."""
    longest = max(map(len, names), default=1)
    return longest > 1 and room_of(names) < longest * 6


def is_mapped(reading: Reading) -> bool:
    """Whether there are too many input features to draw as lines."""
    return reading.values is not None and reading.values.shape[1] > LINED


def draw_reading(theme: Theme, axes: Axes, reading: Reading, steps: int, names: list[str]) -> None:
    """Draw the inputs: symbols as text, numbers as lines or, with many features, as a heat map."""
    axes.set_xlim(0.5, steps + 0.5)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    if names or reading.values is None:
        draw_names(theme, axes, names)
        return
    segment = reading.segment
    values = reading.values[: steps * segment]
    if is_mapped(reading):
        draw_features(theme, axes, values, reading.features, steps)
        return
    at = 0.5 + (np.arange(len(values)) + 0.5) / segment
    marks = "o" if segment == 1 and steps <= 60 else ""
    named = reading.features or (("input",) if values.shape[1] == 1 else ())
    for number, (column, colour) in enumerate(zip(values.T, (theme.ink, theme.run, theme.muted), strict=False)):
        axes.plot(at, column, color=colour, lw=1.1, marker=marks, ms=2.5)
        if number < len(named):
            axes.text(
                1.005, 1 - (number + 0.5) / len(named), canvas.name(named[number], 14), transform=axes.transAxes,
                va="center", color=colour, fontsize=8,
            )  # fmt: skip
    low, high = float(values.min()), float(values.max())
    room = (high - low) * 0.1 or 0.5
    axes.set_ylim(low - room, high + room)
    axes.set_yticks([low, high], [short_number(low), short_number(high)] if high > low else ["", ""])


def draw_features(theme: Theme, axes: Axes, values: np.ndarray, features: tuple[str, ...], steps: int) -> None:
    """Draw numbers ``(n, F)`` as a heat map, each feature scaled from its minimum to its maximum."""
    low, high = values.min(0), values.max(0)
    shares = (values - low) / np.where(high > low, high - low, 1.0)
    count = values.shape[1]
    axes.imshow(
        shares.T, aspect="auto", cmap=ListedColormap(theme.shares()), vmin=0, vmax=1, interpolation="nearest",
        extent=(0.5, steps + 0.5, count + 0.5, 0.5),
    )  # fmt: skip
    if count <= NAMED and features:
        axes.set_yticks(range(1, count + 1), [canvas.name(one, 11) for one in features], fontsize=7)
        axes.tick_params(axis="y", length=0, pad=3)
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{count:,} features")
    axes.text(
        1.005, 0.5, "inputs,\neach scaled\nseparately", transform=axes.transAxes, va="center", color=theme.muted,
        fontsize=8,
    )  # fmt: skip


def few_values(reading: Reading, steps: int) -> bool:
    """Whether to write numbers instead of drawing them: one feature, few steps, few digits."""
    return (
        reading.values is not None
        and reading.segment == 1
        and reading.values.shape[1] == 1
        and steps <= 60
        and all(len(one) <= 2 for one in reading.names[:steps])
    )


def draw_names(theme: Theme, axes: Axes, names: list[str]) -> None:
    """Write each symbol over its step, as large as fits; vertically if they are long."""
    axes.set_yticks([])
    axes.set_ylim(0, 1)
    room, upright = room_of(names), is_upright(names)
    size = min(9.0, room * 0.85) if upright else min(11.0, room / 0.62)
    every = max(1, math.ceil(4.5 / size))  # skip some if they would be too small to read
    for step in range(0, len(names), every):
        unseen = names[step] in UNSEEN
        axes.text(
            step + 1, 0.06, names[step], ha="center", va="bottom", rotation=90 if upright else 0,
            fontsize=max(size, 4.5),
            color=theme.muted if unseen else theme.ink, alpha=0.6 if unseen else 1.0, family="DejaVu Sans Mono",
        )  # fmt: skip
