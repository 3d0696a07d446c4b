"""Whether probabilities hold: of all that was said to come with probability p, did about that share come?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from cellstate.plotting import canvas
from cellstate.plotting.canvas import End
from cellstate.plotting.theme import Theme

BINS = 10  # of equal width, over 0 to 1
HEIGHT, COUNTS = 4.6, 0.75  # inches of the figure, and of the strip that shows how many fell into each bin
CAPTION = (
    "On the dashed line it came as often as was said; below it, the model is too sure. The upright lines hold 95 % of "
    "such shares by chance, where predictions are independent of each other. The expected calibration error is the "
    "mean distance from the line, each bin counted by its predictions (Naeini et al., 2015)."
)


@dataclass(frozen=True)
class Reliability:
    """Predictions by their probability, in ``BINS`` bins: how many, the sum of their probabilities, how many came."""

    counts: np.ndarray
    said: np.ndarray
    came: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: sum over bins of n_b / N |share that came - mean probability|."""
        return float(np.abs(self.came - self.said).sum() / max(self.counts.sum(), 1))


def reliability(probabilities: np.ndarray, came: np.ndarray) -> Reliability:
    """Return the bins of ``probabilities (N,)`` of what ``came (N,)`` or did not."""
    place = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    sums = (np.bincount(place, weights=part, minlength=BINS) for part in (None, probabilities, came.astype(float)))
    return Reliability(*sums)


def draw(theme: Theme, found: Reliability, *, title: str, what: str, label: str) -> Figure:
    """Draw how often it came over how probable it was said to be, and how many predictions each bin has.

    Args:
        theme: whose colours.
        found: the bins.
        title: of the figure.
        what: is counted, such as ``sequences``.
        label: of the x axis.
    """
    total = int(found.counts.sum())
    subtitle = f"share that came  ·  expected calibration error {found.error:.4f}"
    figure = canvas.new_figure(theme, HEIGHT, title, subtitle)
    top, bottom = HEIGHT - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE, canvas.MARGIN + canvas.AXIS
    axes = canvas.add_axes(figure, bottom + COUNTS + 0.32, top)
    there = found.counts > 0
    counts = found.counts[there]
    said, share = found.said[there] / counts, found.came[there] / counts
    low, high = wilson(share, counts)
    canvas.scale_y(axes, [0, 1])
    axes.plot([0, 1], [0, 1], color=theme.optimum, lw=1.0, dashes=(5, 2.5))
    axes.vlines(said, low, high, color=theme.run, lw=1.6, alpha=0.5)
    axes.plot(said, share, color=theme.run, lw=1.2, marker="o", ms=4.5, clip_on=False)
    canvas.label_ends(axes, [End(1.0, "calibrated", theme.text(theme.optimum))])
    below = canvas.add_axes(figure, bottom, bottom + COUNTS)
    edges = np.linspace(0, 1, BINS + 1)
    below.bar((edges[:-1] + edges[1:]) / 2, found.counts / total, width=0.9 / BINS, color=theme.run, alpha=0.55)
    below.set_ylim(0, 1.05 * float(found.counts.max()) / total)
    below.set_yticks([])
    canvas.write_line(figure, bottom + COUNTS + 0.2, f"how many of {total:,} {what} each bin has", color=theme.muted)
    for part in (axes, below):
        part.set_xlim(-0.02, 1.02)
        part.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "0.2", "0.4", "0.6", "0.8", "1"])
    axes.tick_params(labelbottom=False)
    below.set_xlabel(label)
    return canvas.fit(figure)


def wilson(share: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of shares of so many answers (Wilson 1927), z = 1.96:

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    """
    z = 1.96
    middle = share + z**2 / (2 * asked)
    spread = z * np.sqrt(share * (1 - share) / asked + z**2 / (4 * asked**2))
    return (middle - spread) / (1 + z**2 / asked), (middle + spread) / (1 + z**2 / asked)
