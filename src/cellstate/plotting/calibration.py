"""Reliability diagrams: of all predictions with probability p, is the observed fraction close to p?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from cellstate.plotting import canvas
from cellstate.plotting.canvas import End
from cellstate.plotting.theme import Theme

BINS = 10  # of equal width, over 0 to 1
HEIGHT, COUNTS = 4.6, 0.75  # inches of the figure, and of the histogram below it
CAPTION = (
    "On the dashed line, observed and predicted frequencies agree; below it, the model is overconfident. Vertical "
    "lines: 95 % confidence intervals for independent predictions. The expected calibration error is the mean "
    "distance from the line, with bins weighted by their predictions (Naeini et al., 2015)."
)


@dataclass(frozen=True)
class Reliability:
    """Predictions in ``BINS`` bins of probability: their number, sum of probabilities, and number of positives."""

    counts: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: sum over bins of n_b / N |observed fraction - mean probability|."""
        return float(np.abs(self.observed - self.predicted).sum() / max(self.counts.sum(), 1))


def reliability(probabilities: np.ndarray, outcomes: np.ndarray) -> Reliability:
    """Return the bins of ``probabilities (N,)`` and binary ``outcomes (N,)``."""
    place = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    sums = (np.bincount(place, weights=part, minlength=BINS) for part in (None, probabilities, outcomes.astype(float)))
    return Reliability(*sums)


def draw(theme: Theme, found: Reliability, *, title: str, what: str, label: str) -> Figure:
    """Plot observed against predicted frequency above a histogram of the predictions (``what``: ``sequences``, ...)."""
    total = int(found.counts.sum())
    subtitle = f"observed frequency  ·  expected calibration error {found.error:.4f}"
    figure = canvas.new_figure(theme, HEIGHT, title, subtitle)
    top, bottom = HEIGHT - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE, canvas.MARGIN + canvas.AXIS
    axes = canvas.add_axes(figure, bottom + COUNTS + 0.32, top)
    there = found.counts > 0
    counts = found.counts[there]
    predicted, share = found.predicted[there] / counts, found.observed[there] / counts
    low, high = wilson(share, counts)
    canvas.scale_y(axes, [0, 1])
    axes.plot([0, 1], [0, 1], color=theme.optimum, lw=1.0, dashes=(5, 2.5))
    axes.vlines(predicted, low, high, color=theme.run, lw=1.6, alpha=0.5)
    axes.plot(predicted, share, color=theme.run, lw=1.2, marker="o", ms=4.5, clip_on=False)
    canvas.label_ends(axes, [End(1.0, "calibrated", theme.text(theme.optimum))])
    below = canvas.add_axes(figure, bottom, bottom + COUNTS)
    edges = np.linspace(0, 1, BINS + 1)
    below.bar((edges[:-1] + edges[1:]) / 2, found.counts / total, width=0.9 / BINS, color=theme.run, alpha=0.55)
    below.set_ylim(0, 1.05 * float(found.counts.max()) / total)
    below.set_yticks([])
    canvas.write_line(
        figure, bottom + COUNTS + 0.2, f"distribution of {total:,} {what} over the bins", color=theme.muted
    )
    for part in (axes, below):
        part.set_xlim(-0.02, 1.02)
        part.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "0.2", "0.4", "0.6", "0.8", "1"])
    axes.tick_params(labelbottom=False)
    below.set_xlabel(label)
    return canvas.fit(figure)


def wilson(share: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % score interval of observed fractions (Wilson, 1927), z = 1.96:

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    """
    z = 1.96
    middle = share + z**2 / (2 * counts)
    spread = z * np.sqrt(share * (1 - share) / counts + z**2 / (4 * counts**2))
    return (middle - spread) / (1 + z**2 / counts), (middle + spread) / (1 + z**2 / counts)
