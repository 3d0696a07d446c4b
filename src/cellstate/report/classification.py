"""What a classifier shows: which classes it confuses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from cellstate.metrics.classification import ClassificationScores
from cellstate.report import canvas
from cellstate.report.material import Drawing, Material, Section
from cellstate.report.theme import Theme

WRITTEN = 10  # classes up to which the cells hold numbers
NAMED = 30  # classes up to which rows and columns hold names
LONGEST = 1.1  # inches of a name


def section(material: Material) -> Section:
    """Return the confusion matrix of the reported split."""
    scores = material.scores
    assert isinstance(scores, ClassificationScores)
    counts, classes = np.asarray(scores.confusion()), material.data.spec.classes
    title = f"Confusion matrix, {material.split} split"
    caption = "Rows are the true classes, columns the predicted ones; shares and shades are of the row."
    drawing = Drawing("confusion_matrix", caption, lambda theme: confusion_matrix(theme, counts, classes, title=title))
    return Section("Where it errs", [drawing])


def confusion_matrix(theme: Theme, counts: np.ndarray, classes: Sequence[str], *, title: str) -> Figure:
    """Draw ``counts (K, K)``, true class by row and predicted class by column, with each row's shares."""
    size = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    height = min(max(3.5, 1.6 + 0.42 * size), 6.2)
    figure = canvas.new_figure(theme, height, title, f"{np.trace(counts):,} of {counts.sum():,} right")
    top = height - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE
    canvas.write_line(figure, top + 0.02, "true", color=theme.muted)
    axes = canvas.add_axes(figure, canvas.MARGIN + canvas.AXIS, top - 0.24)

    shades = LinearSegmentedColormap.from_list("shares", [empty(theme), theme.run])
    edges = np.arange(size + 1) - 0.5
    axes.pcolormesh(edges, edges, shares, cmap=shades, vmin=0, vmax=1, ec=theme.surface, lw=2 if size <= WRITTEN else 0)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    names = [canvas.shortened(figure, canvas.name(label), LONGEST) for label in classes] if size <= NAMED else []
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    if size <= WRITTEN:
        write_cells(theme, axes, counts, shares)
    return canvas.fit_below(canvas.fit(figure))


def empty(theme: Theme) -> str:
    """Return the shade of a cell that holds nothing, which must still be seen as a cell."""
    return theme.mixed(theme.surface, 0.06)


def write_cells(theme: Theme, axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Write count and share into each cell, in the colour that reads best on its shade."""
    large = len(counts) <= 4
    for (row, column), count in np.ndenumerate(counts):
        share = float(shares[row, column])
        colour = theme.surface if share > 0.7 else theme.ink  # which is read more easily on the shade
        style = {"ha": "center", "color": colour, "clip_on": True}
        axes.text(column, row, f"{count:,}", va="bottom", size=11 if large else 8, weight="bold", **style)
        axes.text(column, row, percentage(share), va="top", size=9 if large else 6.5, **style)


def percentage(share: float) -> str:
    """Return a share in per cent; only all is 100 % and only none is 0 %."""
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %"
