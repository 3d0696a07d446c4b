"""Heat maps, units against time: states and gates of a layer, under the sequence that it read."""

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
NAMES, LINES, GAP = 0.28, 0.62, 0.34  # inches: of names or lines above, between heat maps
PANEL = 128  # pixels of the screen that a heat map is high, as nearly as its rows allow
FEW_UNITS = 12  # that are named beside a heat map
BENT = 3.0  # largest c from which on its scale is that of asinh, so that small ones are seen beside large ones
SCREEN = 100  # pixels of the screen an inch
BAR = 0.16  # inches of the colours' scale
SIDE = 0.95  # inches beside the maps, for the scale
LONG_NAME = 8  # characters of a symbol that is written along the time axis
LEFT = 0.72  # inches left of the maps
LINED = 3  # features that are drawn as lines; more are a heat map
FEATURE, NAMED = 0.135, 40  # inches of a feature's row, and rows up to which each has its name
UNSEEN = ("␣", "↵", "⇥", "␍")


@dataclass(frozen=True)
class Panel:
    """One heat map."""

    title: str
    values: np.ndarray  # (H, T)
    signed: bool  # about 0, else from 0 to 1
    limit: float  # of signed values, on the scale that is drawn
    rows: tuple[str, ...]  # names of the units, where they are few
    bent: bool = False  # whether asinh of the values is drawn


def drawings(found: Inspection) -> list[Drawing]:
    """Return a figure for each layer and direction."""
    shown = []
    for layer, units in zip(found.states.layers, found.units, strict=True):
        shown.append(
            Drawing(
                f"states_{layer.name}",
                caption(found, layer),
                lambda theme, layer=layer, units=units: draw(theme, found, layer, units),
                wide=True,
                heat=True,
            )
        )
    return shown


def caption(found: Inspection, layer: LayerStates) -> str:
    """Return how to read a figure."""
    order = (
        "Units in the order of their time constants, those that keep longest at the top"
        if layer.keeping is not None
        else "Units in the order in which they are stored"
    )
    said = [f"{order}; one column a {found.named(found.step)}, under what was read there."]
    if layer.direction == "backward":
        said.append(
            f"This layer reads from the end: its state at a {found.step} has read all that stands to the right."
        )
    if is_mapped(found.reading):
        said.append("What was read is above, each feature from its least (dark) to its most (yellow) in this sequence.")
    size = layer.h.shape[-1]
    if size > MOST_UNITS:
        said.append(f"{MOST_UNITS} of the {size:,} units are drawn, evenly spaced in that order.")
    if found.shown_steps > MOST_STEPS:
        said.append(f"The first {MOST_STEPS} of {found.shown_steps:,} {found.steps} are drawn.")
    return " ".join(said)


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
    """Return the inches of a heat map whose rows have whole pixels of the screen.

    Rows that share one would be mixed by the browser, and the colours of -1 and 1, mixed, are that of no value.
    """
    return rows * max(2, round(PANEL / rows)) / SCREEN


def wide_axes(figure: Figure, bottom: float, top: float) -> Axes:
    """Return axes as wide as the page, but for the scale beside them."""
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
            title, values, limit = f"{title}, on the scale of asinh", np.arcsinh(values), math.asinh(limit)
        shown.append(Panel(title, values, is_signed, limit, rows, bent))
    return shown


def unit_label(found: Inspection, layer: LayerStates, unit: int) -> str:
    """Return what to call a unit beside a heat map."""
    named = found.unit_names if layer.name == found.walk.layer.name else ()
    return named[unit] if named else str(unit)


def draw_panel(theme: Theme, figure: Figure, axes: Axes, panel: Panel, found: Inspection, *, last: bool) -> None:
    """Draw one heat map under its title, with its scale beside it."""
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
    bar.set_ticks(ticks, labels=[scale_label(math.sinh(tick) if panel.bent else tick) for tick in ticks])
    scale.tick_params(length=0, pad=3)
    scale.grid(visible=False)


def scale_label(value: float) -> str:
    """Return a number beside a scale."""
    return f"{value:.3g}".replace("-", "−")


def time_ticks(axes: Axes, steps: int, unit: str, *, shown: bool) -> None:
    """Set the steps below the last map; the others share them."""
    axes.set_xlim(0.5, steps + 0.5)
    if not shown:
        axes.tick_params(axis="x", length=0, labelbottom=False)
        return
    ticks = [1, *(int(tick) for tick in MaxNLocator(12, integer=True).tick_values(1, steps) if 1 < tick <= steps)]
    ticks = [tick for tick in ticks if tick == 1 or tick > steps / 40]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xlabel(unit)


def names_of(reading: Reading, steps: int) -> tuple[list[str], float]:
    """Return the symbols to write above, if they are to be written, and the inches that what stands there takes."""
    if reading.values is not None and is_mapped(reading):
        return [], max(LINES, FEATURE * min(reading.values.shape[1], NAMED))
    if reading.values is not None and not few_values(reading, steps):
        return [], LINES
    names = [canvas.name(readable(one) if len(one) == 1 else one, LONG_NAME) or " " for one in reading.names[:steps]]
    return names, LINES if is_upright(names) else NAMES


def room_of(names: list[str]) -> float:
    """Return the points that a step has along the time axis."""
    return (canvas.FULL_WIDTH - LEFT - SIDE) * 72 / max(len(names), 1)


def is_upright(names: list[str]) -> bool:
    """Say whether names are too long to lie along the time axis."""
    longest = max(map(len, names), default=1)
    return longest > 1 and room_of(names) < longest * 6


def is_mapped(reading: Reading) -> bool:
    """Say whether what was read has more features than lines can be told apart."""
    return reading.values is not None and reading.values.shape[1] > LINED


def draw_reading(theme: Theme, axes: Axes, reading: Reading, steps: int, names: list[str]) -> None:
    """Draw what was read: symbols by their names, numbers as lines, or as a heat map of many features."""
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
    axes.set_yticks(
        [low, high], [f"{low:.3g}".replace("-", "−"), f"{high:.3g}".replace("-", "−")] if high > low else ["", ""]
    )


def draw_features(theme: Theme, axes: Axes, values: np.ndarray, features: tuple[str, ...], steps: int) -> None:
    """Draw numbers ``(n, F)`` as a heat map, a row for each feature, from its least to its most."""
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
        1.005,
        0.5,
        "read, each\nat its own\nscale",
        transform=axes.transAxes,
        va="center",
        color=theme.muted,
        fontsize=8,
    )


def few_values(reading: Reading, steps: int) -> bool:
    """Say whether numbers are better written than drawn: few steps of short numbers, one feature."""
    return (
        reading.values is not None
        and reading.segment == 1
        and reading.values.shape[1] == 1
        and steps <= 60
        and all(len(one) <= 2 for one in reading.names[:steps])
    )


def draw_names(theme: Theme, axes: Axes, names: list[str]) -> None:
    """Write the symbols, each over its step, as large as they fit; upright where they are long."""
    axes.set_yticks([])
    axes.set_ylim(0, 1)
    room, upright = room_of(names), is_upright(names)
    size = min(9.0, room * 0.85) if upright else min(11.0, room / 0.62)
    every = max(1, math.ceil(4.5 / size))  # too many to be read: each second, third ...
    for step in range(0, len(names), every):
        unseen = names[step] in UNSEEN
        axes.text(
            step + 1, 0.06, names[step], ha="center", va="bottom", rotation=90 if upright else 0,
            fontsize=max(size, 4.5),
            color=theme.muted if unseen else theme.ink, alpha=0.6 if unseen else 1.0, family="DejaVu Sans Mono",
        )  # fmt: skip
