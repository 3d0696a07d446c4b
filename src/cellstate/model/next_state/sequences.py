"""Next-state probabilities along a few sequences, with the observed states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellstate.metrics.tokens import IGNORED
from cellstate.model.material import Material
from cellstate.plotting import canvas
from cellstate.plotting.cells import NAME_WIDTH, shades
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme

EXAMPLES = 3  # sequences
STEPS = 40  # most steps shown, from the start
STATES = 10  # most rows: the states of the highest total probability
ROW, TITLE = 0.17, 0.3  # inches of a row, and of the line above the rows


@dataclass(frozen=True)
class Along:
    """One sequence: ``probabilities (V, T)`` of each next state, and observed states ``came (T,)``, at ``steps``."""

    row: int
    steps: np.ndarray
    probabilities: np.ndarray
    came: np.ndarray

    @property
    def shown(self) -> np.ndarray:
        """The states that have a row, those of the highest total probability, in the vocabulary's order."""
        order = np.argsort(-self.probabilities.sum(axis=1), kind="stable")[:STATES]
        return np.sort(order[self.probabilities[order].max(axis=1) >= 0.005])


def drawing(material: Material, names: Sequence[str]) -> Drawing:
    """Return the figure of the first sequences of the split."""
    found = collect(material)
    return Drawing(
        "next_state_probabilities",
        "The first sequences of the split. Each column is a step: shades are the probabilities of the next state given "
        "all previous ones; the mark is the observed next state, a dot if it was the likeliest, else a ring.",
        lambda theme: draw(theme, found, names, split=material.split),
        wide=True,
    )


def collect(material: Material) -> list[Along]:
    """Return the predictions along the first sequences of the reported split."""
    model, samples = material.model, material.data.prepared.splits[material.split]
    batch = samples.batch(torch.arange(min(EXAMPLES, len(samples))))
    with torch.no_grad(), material.precision():
        logits = model.compute_output(model.transfer_batch_to_device(batch, model.device, 0))
    chances, found = logits.double().softmax(-1).cpu().numpy(), []
    for row, answers in enumerate(batch.targets.cpu().numpy()):
        steps = np.flatnonzero(answers != IGNORED)[:STEPS]
        if len(steps):
            found.append(Along(row, steps, chances[row, steps].T, answers[steps]))
    return found


def draw(theme: Theme, found: Sequence[Along], names: Sequence[str], *, split: str) -> Figure:
    """Draw the sequences stacked, one row per state, one column per step."""
    heights = [max(len(one.shown), 1) * ROW for one in found]
    height = 2 * canvas.MARGIN + canvas.AXIS + canvas.TITLE + canvas.SUBTITLE + sum(heights) + TITLE * len(found)
    figure = canvas.new_figure(
        theme,
        height,
        f"Next states along a sequence, {split} split",
        "probability of each next state, from none (light) to 1 (dark)",
        width=canvas.FULL_WIDTH,
    )
    top = height - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE
    last = max(int(one.steps[-1]) for one in found)
    for place, (one, room) in enumerate(zip(found, heights, strict=True)):
        right = int((one.probabilities.argmax(axis=0) == one.came).sum())
        canvas.write_line(
            figure, top - 0.08, f"sequence {one.row + 1}: {right} of {len(one.steps)} next states predicted correctly"
        )
        axes = canvas.add_axes(figure, top - TITLE - room, top - TITLE)
        labels = [canvas.shortened(figure, names[int(state)], NAME_WIDTH) for state in one.shown]
        draw_sequence(theme, axes, one, labels)
        axes.set_xlim(0.5, last + 1.5)
        ticks = [step for step in (1, *range(5, last + 2, 5)) if step <= last + 1]
        axes.set_xticks(ticks, [str(tick) for tick in ticks] if place == len(found) - 1 else [""] * len(ticks))
        top -= TITLE + room
        if place == len(found) - 1:
            axes.set_xlabel("states seen")
    return canvas.fit(figure)


def draw_sequence(theme: Theme, axes: Axes, one: Along, names: Sequence[str]) -> None:
    """Draw the probabilities of one sequence, and mark the observed states; ``names`` are those of the rows."""
    rows, first = one.shown, int(one.steps[0])
    grid = np.full((len(rows), int(one.steps[-1]) - first + 1), np.nan)  # steps without a target stay blank
    grid[:, one.steps - first] = one.probabilities[rows]
    across, down = np.arange(grid.shape[1] + 1) + first + 0.5, np.arange(len(rows) + 1) - 0.5
    axes.pcolormesh(across, down, grid, cmap=shades(theme), vmin=0, vmax=1, ec=theme.surface, lw=0.8)
    hits = one.probabilities.argmax(axis=0) == one.came
    heights = np.searchsorted(rows, one.came)
    there = np.isin(one.came, rows)
    for marked, face in ((there & hits, theme.ink), (there & ~hits, theme.surface)):
        axes.plot(one.steps[marked] + 1, heights[marked], "o", ms=4, mfc=face, mec=theme.ink, mew=1.0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), names, size=8)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
