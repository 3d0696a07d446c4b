"""Figures of a classifier: confusion matrix, scores of each class, calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellstate.metrics.classification import ClassificationScores
from cellstate.model.material import Material, Rows
from cellstate.plotting import calibration, canvas
from cellstate.plotting.cells import NAME_WIDTH, shades
from cellstate.plotting.parts import Drawing, Section, Table
from cellstate.plotting.theme import Theme

WRITTEN = 10  # most classes with numbers in the cells
LISTED, MOST = 20, 500  # classes that a table shows, and contains
NAMED = 30  # most classes with named rows and columns
WHOLE = 31  # most classes for which the table has all pairs, also those that never occur


def section(material: Material) -> Section:
    """Return the confusion matrix of the reported split, the scores of each class, and the calibration."""
    scores, split = material.scores, material.split
    assert isinstance(scores, ClassificationScores)
    counts, classes = np.asarray(scores.confusion()), material.data.spec.classes
    drawings = [
        Drawing(
            "confusion_matrix",
            "Rows are the true classes, columns the predicted ones; shares and shades are per row.",
            lambda theme: confusion_matrix(theme, counts, classes, title=f"Confusion matrix, {split} split"),
        )
    ]
    if len(classes) > 1:
        found = calibration_of(scores)
        drawings.append(
            Drawing(
                "calibration",
                f"Accuracy of the likeliest class by its probability. {calibration.CAPTION}",
                lambda theme: calibration.draw(
                    theme,
                    found,
                    title=f"Calibration, {split} split",
                    what="sequences",
                    label="probability of the likeliest class",
                ),
            )
        )
    return Section("Errors by class", drawings, [class_table(counts, classes, split=split)])


def tables(material: Material) -> dict[str, Rows]:
    """Return the confusion matrix in long format; with many classes without empty cells."""
    scores, classes = material.scores, material.data.spec.classes
    assert isinstance(scores, ClassificationScores)
    rows = [
        {"actual": classes[actual], "predicted": classes[predicted], "count": int(count)}
        for (actual, predicted), count in np.ndenumerate(np.asarray(scores.confusion()))
        if count or len(classes) <= WHOLE
    ]
    return {"confusion_matrix": rows}


def calibration_of(scores: ClassificationScores) -> calibration.Reliability:
    """Return the accuracy of the likeliest class by its probability."""
    probabilities = torch.cat(scores.logits).double().softmax(1)
    likeliest, predicted = probabilities.max(1)
    hits = predicted == torch.cat(scores.targets)
    return calibration.reliability(likeliest.cpu().numpy(), hits.cpu().numpy())


def class_table(counts: np.ndarray, classes: Sequence[str], *, split: str) -> Table:
    """Return precision, recall and f1 of each class from ``counts (K, K)``, sorted by increasing f1 if many."""
    right, true, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid="ignore"):  # classes that never occur or are never predicted
        precision, recall = right / predicted, right / true
        f1 = np.where(true + predicted > 0, 2 * right / (true + predicted), np.nan)
    many = len(classes) > LISTED
    order = np.argsort(np.where(true > 0, f1, np.inf), kind="stable") if many else np.arange(len(classes))
    rows = []
    for at in map(int, order[:MOST]):
        scores = [share(float(part[at])) for part in (precision, recall, f1)]
        rows.append((classes[at], *scores, f"{true[at]:,}", f"{predicted[at]:,}"))
    note = f" The {len(classes):,} classes are sorted by increasing f1." if many else ""
    left_out = f" Only the first {MOST} are listed." if len(classes) > MOST else ""
    return Table(
        f"Each class, {split} split",
        "precision: share of predictions of the class that are correct; recall: share of sequences of the class that "
        f"are predicted correctly; f1: harmonic mean of the two.{note}{left_out}",
        ("class", "precision", "recall", "f1", "sequences", "predicted"),
        rows[:LISTED],
        rows[LISTED:],
    )


def share(value: float) -> str:
    """Return a share with three digits, or a dash for NaN."""
    return "\u2013" if np.isnan(value) else f"{value:.3f}"


def confusion_matrix(theme: Theme, counts: np.ndarray, classes: Sequence[str], *, title: str) -> Figure:
    """Draw ``counts (K, K)``, true class by row and predicted class by column, with shares per row."""
    size = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    height = min(max(3.5, 1.6 + 0.42 * size), 6.2)
    figure = canvas.new_figure(theme, height, title, f"{np.trace(counts):,} of {counts.sum():,} correct")
    top = height - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE
    canvas.write_line(figure, top + 0.02, "true", color=theme.muted)
    axes = canvas.add_axes(figure, canvas.MARGIN + canvas.AXIS, top - 0.24)

    edges = np.arange(size + 1) - 0.5
    axes.pcolormesh(
        edges, edges, shares, cmap=shades(theme), vmin=0, vmax=1, ec=theme.surface, lw=2 if size <= WRITTEN else 0
    )
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    names = [canvas.shortened(figure, canvas.name(label), NAME_WIDTH) for label in classes] if size <= NAMED else []
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    if size <= WRITTEN:
        write_cells(theme, axes, counts, shares)
    return canvas.fit_below(canvas.fit(figure))


def write_cells(theme: Theme, axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Write count and share into each cell, in a colour legible on its shade."""
    large = len(counts) <= 4
    for (row, column), count in np.ndenumerate(counts):
        share = float(shares[row, column])
        colour = theme.surface if share > 0.7 else theme.ink
        style = {"ha": "center", "color": colour, "clip_on": True}
        axes.text(column, row, f"{count:,}", va="bottom", size=11 if large else 8, weight="bold", **style)
        axes.text(column, row, percentage(share), va="top", size=9 if large else 6.5, **style)


def percentage(share: float) -> str:
    """Return a share in per cent; only exactly 1 is 100 % and only exactly 0 is 0 %."""
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %"
