"""Figures of next-state prediction: transition probabilities, accuracy by step, example sequences, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellstate.data.batch import UNKNOWN, Batch
from cellstate.data.loader import BatchLoader
from cellstate.metrics.display import number
from cellstate.metrics.predictors import OPTIMA, spoken
from cellstate.metrics.tokens import IGNORED
from cellstate.model.material import Material, Rows
from cellstate.model.next_state import sequences as next_states
from cellstate.plotting import calibration, canvas
from cellstate.plotting.calibration import Reliability, wilson
from cellstate.plotting.canvas import End
from cellstate.plotting.cells import NAME_WIDTH, shades
from cellstate.plotting.curves import draw_curve
from cellstate.plotting.parts import Drawing, Section
from cellstate.plotting.theme import Theme

WRITTEN = 10  # most states with numbers in the cells
SHOWN = 30  # most states with a row and a column; the most frequent are shown
ENOUGH = 50  # least number of sequences at a step for its accuracy to be shown
PAIRS = 20_000_000  # most probabilities used for calibration


@dataclass(frozen=True)
class Predictions:
    """The predictions on the reported split, for the ``K`` states that are shown.

    states: their indices in the vocabulary, ascending, ``(K,)``.
    expected: ``(K, K)`` mean probability of each next state (column) after each state (row).
    observed: ``(K, K)`` relative frequency of each next state (column) after each state (row).
    hits, asked: ``(T,)`` correct predictions and targets at each step.
    held: the probabilities of all states at all positions, with their outcomes.
    """

    states: np.ndarray
    expected: np.ndarray
    observed: np.ndarray
    hits: np.ndarray
    asked: np.ndarray
    held: Reliability


def section(material: Material) -> Section:
    """Return transition probabilities, accuracy by step, example sequences, and calibration."""
    found, names, split = collect(material), state_names(material), material.split
    drawings = [
        Drawing(
            "transitions",
            "Rows are the current state, columns the next one. Shades"
            + (" and upper numbers" if len(found.states) <= WRITTEN else "")
            + " are the predicted probability, averaged over all positions of the split"
            + ("; lower numbers are the observed frequency." if len(found.states) <= WRITTEN else "."),
            lambda theme: transitions(theme, found, names, split=split),
        )
    ]
    if (found.asked >= ENOUGH).sum() > 1:
        drawings.append(
            Drawing(
                "accuracy_by_step",
                "Accuracy by position in the sequence, with 95 % confidence intervals; steps with fewer than "
                f"{ENOUGH} sequences are omitted. Dashed: the overall accuracy of the best predictors of the table.",
                lambda theme: accuracy_by_step(theme, found, material.reference("accuracy"), split=split),
            )
        )
    drawings += [
        next_states.drawing(material, names),
        Drawing(
            "calibration",
            "Observed frequency of states by their predicted probability, over all states and positions. "
            f"{calibration.CAPTION}",
            lambda theme: calibration.draw(
                theme,
                found.held,
                title=f"Calibration, {split} split",
                what="predicted probabilities",
                label="predicted probability of a state",
            ),
        ),
    ]
    return Section("Predictions", drawings)


def tables(material: Material) -> dict[str, Rows]:
    """Return the predicted probability and observed frequency of each next state after each state."""
    found, names = collect(material), state_names(material)
    shown = [names[state] for state in found.states]
    rows = [
        {"state": shown[row], "next": shown[column], "expected": float(share), "observed": float(seen)}
        for ((row, column), share), seen in zip(np.ndenumerate(found.expected), found.observed.flat, strict=True)
        if not np.isnan(share)  # a state without successors
    ]
    return {"transitions": rows}


def state_names(material: Material) -> list[str]:
    """Return the names of the vocabulary for display."""
    return ["(unknown)" if name == UNKNOWN else canvas.name(name) for name in material.data.spec.vocabulary]


def collect(material: Material) -> Predictions:
    """Return the predictions at every position of the reported split."""
    model, spec = material.model, material.data.spec
    loader = BatchLoader(material.data.prepared.splits[material.split], material.data.batch_size, shuffle=False)
    often = torch.zeros(len(spec.vocabulary), dtype=torch.int64)
    for batch in loader:
        often += sum(torch.bincount(states, minlength=len(often)) for states in places(batch, spec.target_feature))
    states = frequent(often)
    size = len(states)
    rows = torch.full((len(often),), size)  # the last row collects the states that are not shown
    rows[states] = torch.arange(size)
    sums, counts = torch.zeros(size + 1, size), torch.zeros(size + 1, size + 1)
    sums, counts = sums.double(), counts.double()
    hits, asked, held = [], [], np.zeros((3, calibration.BINS))
    every = -(-int(often.sum()) * len(often) // PAIRS)  # with more pairs, only every n-th position is used
    with torch.no_grad(), material.precision():
        for batch in loader:
            logits = model.compute_output(model.transfer_batch_to_device(batch, model.device, 0)).cpu()
            newest, targets = (rows[part] for part in places(batch, spec.target_feature))
            valid = batch.targets.cpu() != IGNORED
            chances = logits[valid].double().softmax(-1)
            sums.index_add_(0, newest, chances[:, states])
            held += pairs(chances[::every], batch.targets.cpu()[valid][::every])
            counts.index_put_((newest, targets), torch.ones((), dtype=torch.float64), accumulate=True)
            hits.append((logits.argmax(-1) == batch.targets.cpu()).sum(0))
            asked.append(valid.sum(0))
    totals = counts.sum(1, keepdim=True)  # 0 for a state without successors: its shares are NaN, its row blank
    shares = [(part / totals)[:size, :size].numpy() for part in (sums, counts)]
    steps = [torch.stack(parts).sum(0).numpy() for parts in (hits, asked)]
    expected, observed = shares
    right, counted = steps
    return Predictions(states.numpy(), expected, observed, right, counted, Reliability(held[0], held[1], held[2]))


def pairs(chances: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """Return the calibration bins of all probabilities ``chances (P, V)`` for ``targets (P,)``, as ``(3, BINS)``."""
    hits = torch.nn.functional.one_hot(targets, chances.shape[1]).bool()
    found = calibration.reliability(chances.flatten().numpy(), hits.flatten().numpy())
    return np.stack([found.counts, found.predicted, found.observed])


def places(batch: Batch, feature: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the current state of the predicted feature and the target at all counted positions, ``(P,)``."""
    valid = batch.targets != IGNORED
    newest = batch.inputs if batch.inputs.ndim == 2 else batch.inputs[..., feature]
    return newest[valid].cpu(), batch.targets[valid].cpu()


def frequent(often: torch.Tensor) -> torch.Tensor:
    """Return the states that occur, at most the ``SHOWN`` most frequent, in the vocabulary's order."""
    order = often.argsort(descending=True, stable=True)[:SHOWN]
    return order[often[order] > 0].sort().values


def transitions(theme: Theme, found: Predictions, names: Sequence[str], *, split: str) -> Figure:
    """Draw predicted and observed transition probabilities, current state by row and next state by column."""
    size, expected = len(found.states), found.expected
    height = min(max(3.5, 1.6 + 0.42 * size), 6.2)
    darkest = 1.0 if size <= WRITTEN else float(np.nanmax(expected))  # with many states each probability is small
    most = ", and below it the observed frequency" if size <= WRITTEN else f", up to {number(darkest)}"
    if size == SHOWN < len(names):
        most += f"; the {size} most frequent states"
    title = f"Expected next states, {split} split"
    figure = canvas.new_figure(theme, height, title, f"mean predicted probability{most}")
    top = height - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE
    canvas.write_line(figure, top + 0.02, "current", color=theme.muted)
    axes = canvas.add_axes(figure, canvas.MARGIN + canvas.AXIS, top - 0.24)
    edges = np.arange(size + 1) - 0.5
    axes.pcolormesh(
        edges,
        edges,
        expected,
        cmap=shades(theme),
        vmin=0,
        vmax=darkest,
        ec=theme.surface,
        lw=2 if size <= WRITTEN else 0,
    )
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    labels = [canvas.shortened(figure, names[int(state)], NAME_WIDTH) for state in found.states]
    small = 9 if size <= 20 else 7
    axes.set_xticks(range(size), labels, size=small)
    axes.set_yticks(range(size), labels, size=small)
    axes.set_xlabel("next")
    if size <= WRITTEN:
        write_cells(theme, axes, expected, found.observed)
    return canvas.fit_below(canvas.fit(figure))


def write_cells(theme: Theme, axes: Axes, expected: np.ndarray, observed: np.ndarray) -> None:
    """Write both numbers into each cell, in a colour legible on its shade."""
    for (row, column), value in np.ndenumerate(expected):
        if np.isnan(value):
            continue
        colour = theme.surface if value > 0.7 else theme.ink
        style = {"ha": "center", "color": colour, "clip_on": True}
        axes.text(column, row, f"{value:.2f}", va="bottom", size=9, weight="bold", **style)
        axes.text(column, row, f"{observed[row, column]:.2f}", va="top", size=7.5, **style)


def accuracy_by_step(theme: Theme, found: Predictions, reference: object, *, split: str) -> Figure:
    """Draw the accuracy at each step, with the overall accuracy of optimum and best baseline."""
    assert isinstance(reference, dict)
    enough = found.asked >= ENOUGH
    last = int(np.flatnonzero(enough)[-1]) + 1
    kept = np.flatnonzero(enough[:last])
    share = found.hits[kept] / found.asked[kept]
    low, high = wilson(share, found.asked[kept])
    curve = share.tolist()
    figure = canvas.new_figure(theme, 3.5, f"Accuracy along a sequence, {split} split", "accuracy")
    axes = canvas.single_axes(figure)
    baselines = {name: value for name, value in reference.items() if name not in OPTIMA}
    lines = [(name, reference[name], theme.optimum) for name in ("optimum",) if name in reference]
    if baselines:
        best = max(baselines, key=lambda name: baselines[name])
        lines.append((best, baselines[best], theme.muted))
    canvas.scale_y(axes, [*low, *high, *(value for _, value, _ in lines)])
    for _, value, colour in lines:
        axes.axhline(value, color=colour, lw=1.0, dashes=(5, 2.5))
    axes.fill_between(kept + 1, low, high, color=theme.run, alpha=0.18, lw=0)
    draw_curve(axes, ((kept + 1).tolist(), curve), theme.run)
    canvas.whole_ticks(axes, int(kept[0]) + 1, last, "states seen")
    ends = [End(value, f"{spoken(name)} {number(value)}", theme.text(colour)) for name, value, colour in lines]
    canvas.label_ends(axes, [*ends, End(curve[-1], "this run", theme.text(theme.run))])
    return canvas.fit(figure)
