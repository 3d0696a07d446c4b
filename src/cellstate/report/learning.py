"""Learning curves: what the training did, and how far the validation came towards optimum and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellstate.report import canvas
from cellstate.report.canvas import End
from cellstate.report.material import HIGHER_IS_BETTER, OPTIMA, Drawing, Material, spoken
from cellstate.report.summary import number
from cellstate.report.theme import Theme

HEIGHT = 3.5  # inches
Curve = tuple[list[int], list[float]]  # times, values
Clock = Literal["epoch", "step"]


def drawings(material: Material, *, metric: str, metric_label: str, loss_unit: str) -> list[Drawing]:
    """Return the loss curves and, where it was measured, the validation's ``metric`` beside its references."""
    clock = clock_of(material.history, epochs=material.metrics["epochs"], steps=material.metrics["steps"])
    losses = {split: curve(material.history, f"{split}/loss", clock) for split in ("train", "val")}
    lines = {name: value for name, value in material.reference("loss").items() if value > 0}  # 0 has no logarithm
    found: list[Drawing] = []
    if any(times for times, _ in losses.values()):
        best = material.metrics["best"]
        found.append(
            Drawing(
                "learning_curves",
                "The training loss is the mean since the validation before, with dropout and while the weights "
                "moved; the validation loss is that of the weights then reached. The ring marks those that were kept. "
                + explanation(lines, material.split),
                lambda theme: loss_curves(theme, losses, best=best, unit=loss_unit, reference=lines, clock=clock),
            )
        )
    validation = curve(material.history, f"val/{metric}", clock)
    if validation[0] and metric != "loss":
        reference, split = material.reference(metric), material.split
        result = material.metrics[split].get(metric)
        found.append(
            Drawing(
                f"validation_{metric}",
                explanation(reference, split),
                lambda theme: metric_curve(
                    theme,
                    validation,
                    metric=metric,
                    label=metric_label,
                    reference=reference,
                    result=result,
                    split=split,
                    clock=clock,
                ),
            )
        )
    return found


def explanation(reference: Mapping[str, float], split: str) -> str:
    """Return how to read the dashed lines, if there are any."""
    if not reference:
        return ""
    best = "the best possible predictor and " if any(name in OPTIMA for name in reference) else ""
    where = "" if split == "val" else f" They are scored on the {split} split, the curve on the validation split."
    return f"Dashed: {best}predictors that need no network.{where}"


def clock_of(history: Sequence[Mapping[str, float]], *, epochs: int, steps: int) -> Clock:
    """Return ``epoch`` where the rows are the ends of all epochs of the run, else ``step``: some validate otherwise.

    Of E epochs and S steps the k-th row is then of epoch k - 1 (counted from 0) and step k S / E.
    """
    ends = [row["epoch"] == k - 1 and row["step"] * epochs == k * steps for k, row in enumerate(history, start=1)]
    return "epoch" if all(ends) and len(ends) == epochs else "step"


def time_of(row: Mapping[str, float], clock: Clock) -> int:
    """Return the epoch, counted from 1, or the step of a row of ``metrics.csv``."""
    return int(row["epoch"]) + 1 if clock == "epoch" else int(row["step"])


def curve(history: Sequence[Mapping[str, float]], key: str, clock: Clock) -> Curve:
    """Return the times and the values of one column of ``metrics.csv``."""
    rows = [(time_of(row, clock), float(row[key])) for row in history if row.get(key) is not None]
    return [time for time, _ in rows], [value for _, value in rows]


def loss_curves(
    theme: Theme,
    losses: Mapping[str, Curve],
    *,
    best: Mapping[str, Any],
    unit: str,
    reference: Mapping[str, float] | None = None,
    clock: Clock = "epoch",
) -> Figure:
    """Draw training and validation loss against the time, the best validation ringed, a line for each reference."""
    at = None if best["step"] is None else time_of(best, clock)
    kept = "" if at is None else f"  ·  best after {clock} {at:,}: {number(best['value'])}"
    figure = canvas.new_figure(theme, HEIGHT, "Loss", f"{unit}{kept}")
    axes = canvas.single_axes(figure)
    shown = [("train", "training", theme.train), ("val", "validation", theme.run)]
    drawn = [value for _, values in losses.values() for value in values]
    canvas.scale_y(axes, [*drawn, *(reference or {}).values()], log_from=20)
    ends = [
        End(value, f"{spoken(name)} {number(value)}", theme.text(colour_of(theme, name)))
        for name, value in (reference or {}).items()
    ]
    for name, value in (reference or {}).items():
        axes.axhline(value, color=colour_of(theme, name), lw=0.9, dashes=(5, 2.5), zorder=1.5)
    for split, label, colour in shown:
        times, values = losses[split]
        if times:
            draw_curve(axes, (times, values), colour)
            ends.append(End(values[-1], label, theme.text(colour)))
    times, values = losses["val"]
    if at in times:
        place = times.index(at)
        axes.plot(
            times[place], values[place], "o", ms=8, mfc=theme.surface, mec=theme.run, mew=1.8, zorder=5, clip_on=False
        )
    times = [time for found, _ in losses.values() for time in found]
    canvas.whole_ticks(axes, min(times), max(times), clock)
    canvas.label_ends(axes, ends)
    return canvas.fit(figure)


def metric_curve(
    theme: Theme,
    validation: Curve,
    *,
    metric: str,
    label: str,
    reference: Mapping[str, float],
    result: float | None,
    split: str,
    clock: Clock = "epoch",
) -> Figure:
    """Draw the validation's metric against the time, with a line for the result, the optimum and each baseline."""
    title = label[0].upper() + label[1:]
    better = "higher" if metric in HIGHER_IS_BETTER else "lower"
    lines_of = "" if split == "val" or not reference else f"; dashed lines: {split} split"
    figure = canvas.new_figure(theme, HEIGHT, title, f"{better} is better{lines_of}")
    axes = canvas.single_axes(figure)
    times, values = validation
    lines = [(value, spoken(predictor), colour_of(theme, predictor)) for predictor, value in reference.items()]
    if result is not None and split != "val":
        lines.append((result, f"this run, {split}", theme.run))
    log_from = 4 if better == "lower" else float("inf")
    canvas.scale_y(axes, [*values, *(value for value, _, _ in lines)], log_from=log_from)
    for value, _, colour in lines:
        axes.axhline(value, color=colour, lw=0.9, dashes=(5, 2.5), zorder=1.5)
    draw_curve(axes, validation, theme.run)
    canvas.whole_ticks(axes, times[0], times[-1], clock)
    ends = [End(value, f"{text} {number(value)}", theme.text(colour)) for value, text, colour in lines]
    canvas.label_ends(axes, [*ends, End(values[-1], "validation", theme.text(theme.run))])
    return canvas.fit(figure)


def colour_of(theme: Theme, predictor: str) -> str:
    """Return the hue of a line of reference."""
    return theme.optimum if predictor in OPTIMA else theme.muted


def draw_curve(axes: Axes, points: Curve, colour: str) -> None:
    """Draw a curve; where it has few points, each of them too."""
    few = len(points[0]) <= 12
    axes.plot(*points, color=colour, marker="o" if few else "", ms=4, clip_on=False)
