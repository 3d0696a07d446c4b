"""What a model of the next state shows: what it expects after each state, how it fares along a sequence, examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from cellstate.data.batch import UNKNOWN, Batch
from cellstate.data.loader import BatchLoader
from cellstate.metrics.tokens import IGNORED
from cellstate.model import NextState
from cellstate.report import canvas
from cellstate.report.canvas import End
from cellstate.report.classification import LONGEST, empty
from cellstate.report.learning import draw_curve
from cellstate.report.material import OPTIMA, Drawing, Material, Sample, Section, spoken
from cellstate.report.summary import number
from cellstate.report.theme import Theme

WRITTEN = 10  # states up to which the cells hold numbers
SHOWN = 30  # states that have a row and a column; of more, the most frequent
ENOUGH = 50  # sequences that must reach a step for its accuracy to be shown
EXAMPLES, LAST_STEPS, LIKELIEST = 3, 8, 3


@dataclass(frozen=True)
class Predictions:
    """What the model expects on the reported split, of the ``K`` states that are shown.

    states: their numbers in the vocabulary, ascending, ``(K,)``.
    expected: ``(K, K)`` mean probability of each next state (column) after each state (row).
    observed: ``(K, K)`` how often each came, as a share of all that came after the row's state.
    hits, asked: ``(T,)`` right answers at each step, and how many sequences ask there.
    """

    states: np.ndarray
    expected: np.ndarray
    observed: np.ndarray
    hits: np.ndarray
    asked: np.ndarray


def section(material: Material) -> Section:
    """Return the transitions that the model expects, its accuracy along a sequence, and a few sequences."""
    found, names, split = collect(material), state_names(material), material.split
    drawings = [
        Drawing(
            "transitions",
            "Rows are the newest state, columns the next one. Shades and upper numbers are the probability that the "
            "model gives it, the mean over all places of the split; lower numbers are how often it came.",
            lambda theme: transitions(theme, found, names, split=split),
        )
    ]
    if (found.asked >= ENOUGH).sum() > 1:
        drawings.append(
            Drawing(
                "accuracy_by_step",
                "Right answers after so many states of a sequence, with the range in which 95 % of such shares fall "
                f"by chance; steps that fewer than {ENOUGH} sequences reach are left out. Dashed: the means over all "
                "steps of the best predictors of the table.",
                lambda theme: accuracy_by_step(theme, found, material.reference("accuracy"), split=split),
            )
        )
    return Section("What it expects", drawings, examples(material))


def state_names(material: Material) -> list[str]:
    """Return the names of the vocabulary, fit to be shown."""
    return ["(unknown)" if name == UNKNOWN else canvas.name(name) for name in material.data.spec.vocabulary]


def collect(material: Material) -> Predictions:
    """Return what the model expects at every place of the reported split."""
    model, spec = material.model, material.data.spec
    loader = BatchLoader(material.data.prepared.splits[material.split], material.data.batch_size, shuffle=False)
    often = torch.zeros(len(spec.vocabulary), dtype=torch.int64)
    for batch in loader:
        often += sum(torch.bincount(states, minlength=len(often)) for states in places(batch, spec.target_feature))
    states = frequent(often)
    size = len(states)
    rows = torch.full((len(often),), size)  # the last row gathers the states that are not shown
    rows[states] = torch.arange(size)
    sums, counts = torch.zeros(size + 1, size), torch.zeros(size + 1, size + 1)
    sums, counts = sums.double(), counts.double()
    hits, asked = [], []
    with torch.no_grad():
        for batch in loader:
            logits = model.compute_output(model.transfer_batch_to_device(batch, model.device, 0)).cpu()
            newest, targets = (rows[part] for part in places(batch, spec.target_feature))
            valid = batch.targets.cpu() != IGNORED
            sums.index_add_(0, newest, logits[valid].double().softmax(-1)[:, states])
            counts.index_put_((newest, targets), torch.ones((), dtype=torch.float64), accumulate=True)
            hits.append((logits.argmax(-1) == batch.targets.cpu()).sum(0))
            asked.append(valid.sum(0))
    totals = counts.sum(1, keepdim=True)  # 0 for a state that nothing follows: its shares are NaN, and its row blank
    shares = [(part / totals)[:size, :size].numpy() for part in (sums, counts)]
    steps = [torch.stack(parts).sum(0).numpy() for parts in (hits, asked)]
    return Predictions(states.numpy(), *shares, *steps)


def places(batch: Batch, feature: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the newest state of the predicted feature and the one that came, of all places that count, ``(P,)``."""
    valid = batch.targets != IGNORED
    newest = batch.inputs if batch.inputs.ndim == 2 else batch.inputs[..., feature]
    return newest[valid].cpu(), batch.targets[valid].cpu()


def frequent(often: torch.Tensor) -> torch.Tensor:
    """Return the states that occur, at most the ``SHOWN`` most frequent, in the vocabulary's order."""
    order = often.argsort(descending=True, stable=True)[:SHOWN]
    return order[often[order] > 0].sort().values


def transitions(theme: Theme, found: Predictions, names: Sequence[str], *, split: str) -> Figure:
    """Draw what is expected after each state, the newest by row and the next by column, beside what came."""
    size, expected = len(found.states), found.expected
    height = min(max(3.5, 1.6 + 0.42 * size), 6.2)
    darkest = 1.0 if size <= WRITTEN else float(np.nanmax(expected))  # of many states each has little
    most = ", and below it how often it came" if size <= WRITTEN else f", up to {number(darkest)}"
    if size == SHOWN < len(names):
        most += f"; the {size} most frequent states"
    title = f"Expected next states, {split} split"
    figure = canvas.new_figure(theme, height, title, f"mean predicted probability{most}")
    top = height - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE
    canvas.write_line(figure, top + 0.02, "newest", color=theme.muted)
    axes = canvas.add_axes(figure, canvas.MARGIN + canvas.AXIS, top - 0.24)
    shades = LinearSegmentedColormap.from_list("shares", [empty(theme), theme.run])
    edges = np.arange(size + 1) - 0.5
    axes.pcolormesh(
        edges, edges, expected, cmap=shades, vmin=0, vmax=darkest, ec=theme.surface, lw=2 if size <= WRITTEN else 0
    )
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    labels = [canvas.shortened(figure, names[int(state)], LONGEST) for state in found.states]
    small = 9 if size <= 20 else 7
    axes.set_xticks(range(size), labels, size=small)
    axes.set_yticks(range(size), labels, size=small)
    axes.set_xlabel("next")
    if size <= WRITTEN:
        write_cells(theme, axes, expected, found.observed)
    return canvas.fit_below(canvas.fit(figure))


def write_cells(theme: Theme, axes: Axes, expected: np.ndarray, observed: np.ndarray) -> None:
    """Write both numbers into each cell, in the colour that reads best on its shade."""
    for (row, column), value in np.ndenumerate(expected):
        if np.isnan(value):
            continue
        colour = theme.surface if value > 0.7 else theme.ink
        style = {"ha": "center", "color": colour, "clip_on": True}
        axes.text(column, row, f"{value:.2f}", va="bottom", size=9, weight="bold", **style)
        axes.text(column, row, f"{observed[row, column]:.2f}", va="top", size=7.5, **style)


def accuracy_by_step(theme: Theme, found: Predictions, reference: object, *, split: str) -> Figure:
    """Draw the share of right answers at each step, beside the means of optimum and best baseline."""
    assert isinstance(reference, dict)
    enough = found.asked >= ENOUGH
    last = int(np.flatnonzero(enough)[-1]) + 1
    kept = np.flatnonzero(enough[:last])
    share = found.hits[kept] / found.asked[kept]
    low, high = wilson(share, found.asked[kept])
    curve = share.tolist()
    figure = canvas.new_figure(theme, 3.5, f"Accuracy along a sequence, {split} split", "share of right answers")
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


def wilson(share: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of shares of so many answers (Wilson 1927), z = 1.96:

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    """
    z = 1.96
    middle = share + z**2 / (2 * asked)
    spread = z * np.sqrt(share * (1 - share) / asked + z**2 / (4 * asked**2))
    return (middle - spread) / (1 + z**2 / asked), (middle + spread) / (1 + z**2 / asked)


def examples(material: Material) -> list[Sample]:
    """Return the likeliest next states at the last steps of the first sequences of the split, and what came."""
    model, samples = material.model, material.data.prepared.splits[material.split]
    assert isinstance(model, NextState)
    batch = samples.batch(torch.arange(min(EXAMPLES, len(samples))))
    moved = model.transfer_batch_to_device(batch, model.device, 0)
    with torch.no_grad():
        probabilities = model.compute_output(moved).double().softmax(-1).cpu().numpy()
    feature = model.spec.target_feature
    newest = (batch.inputs if batch.inputs.ndim == 2 else batch.inputs[..., feature]).tolist()
    names = state_names(material)
    return [
        Sample(f"sequence {row + 1} of the {material.split} split", table(newest[row], answers, chances, names))
        for row, (answers, chances) in enumerate(zip(batch.targets.cpu().numpy(), probabilities, strict=True))
        if (answers != IGNORED).any()
    ]


def table(newest: Sequence[int], answers: np.ndarray, chances: np.ndarray, names: Sequence[str]) -> str:
    """Return the last steps of a sequence as lines: the newest state, the likeliest next ones, the one that came."""
    steps = np.flatnonzero(answers != IGNORED)[-LAST_STEPS:].tolist()
    width = max(len("state"), *(len(names[newest[step]]) for step in steps))
    rows = [f"{'step':>5}  {'state':<{width}}  likeliest next"]
    wanted = []
    for step in steps:
        order = np.argsort(-chances[step], kind="stable")[:LIKELIEST].tolist()
        wanted.append("   ".join(f"{names[state]} {chances[step, state]:.2f}" for state in order))
    room = max(map(len, wanted))
    rows[0] = f"{rows[0]:<{9 + width + room}}  came"
    for step, guesses in zip(steps, wanted, strict=True):
        came = int(answers[step])
        right = "" if chances[step].argmax() == came else "  (not the likeliest)"
        state = names[newest[step]]
        rows.append(f"{step + 1:>5}  {state:<{width}}  {guesses:<{room}}  {names[came]}{right}")
    return "\n".join(rows)
