"""Measure and draw what docs/lstm.md shows.

    python scripts/lstm_story.py [PART ...] [--figures docs/figures]

Without a part it runs all of PARTS, in about five minutes on two idle cores. Each part prints its table, which is
included verbatim in the document, and writes its figure. Seeds are fixed; the last digits depend on the machine.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from lightning import seed_everything
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import cellstate
from cellstate.config.compose import compose
from cellstate.data.batch import Batch
from cellstate.data.synthetic.seasonal import SeasonalSeries, seasonal_series
from cellstate.inspection.analysis import Captured, LayerFlow, capture, recall, time_constants
from cellstate.model import Forecaster, LanguageModel, SequenceModel
from cellstate.plotting import canvas
from cellstate.plotting.theme import LIGHT, Theme
from cellstate.training.build import build_data, build_model
from cellstate.training.run import Run
from cellstate.training.settings import Settings

LAGS = (10, 20, 40, 80)  # steps over which the first digit must be remembered
SEEDS = (0, 1)
SHOWN = 40  # the lag of the gradients
VARIANTS = {
    "RNN, uniform": ["backbone=rnn", "backbone.recurrent_init=uniform", "backbone.chrono_steps=null"],
    "RNN, orthogonal": ["backbone=rnn", "backbone.chrono_steps=null"],
    "LSTM, forget bias 0": ["backbone.chrono_steps=null", "backbone.forget_bias=0.0"],
    "LSTM, forget bias 1": ["backbone.chrono_steps=null", "backbone.forget_bias=1.0"],
    "LSTM, chrono": ["backbone.chrono_steps=${data.length}"],
}
COLOURS = dict(zip(VARIANTS, (LIGHT.groups[i] for i in (1, 4, 3, 5, 0)), strict=True))
ALL_BUT_BIAS_0 = [name for name in VARIANTS if name != "LSTM, forget bias 0"]
PARITY = ["data.encoding=one_hot", "data.train_size=4000", "data.val_size=1000", "data.test_size=1000"]
PARITY += ["backbone.hidden_size=32", "optimizer.lr=0.005", "trainer.max_epochs=6"]


# ---------------------------------------------------------------------- runs


def parity_words(variant: str, lag: int, seed: int) -> list[str]:
    """Return the overrides for a small network that must remember one digit over ``lag`` steps."""
    return ["experiment=first_parity", f"data.length={lag + 1}", f"seed={seed}", *PARITY, *VARIANTS[variant]]


def train(words: Sequence[str]) -> Run:
    """Train in a temporary folder, with a temporary ledger."""
    with tempfile.TemporaryDirectory() as folder:
        kept = ["report=false", f"ledger={folder}/ledger.csv", f"hydra.run.dir={folder}/run", "trainer.accelerator=cpu"]
        return cellstate.train([*words, *kept])


@cache
def trained(variant: str, lag: int, seed: int = 0) -> Run:
    """Return a trained network, shared by all parts."""
    return train(parity_words(variant, lag, seed))


def untrained(variant: str, lag: int) -> tuple[SequenceModel, Batch]:
    """Return an untrained network, and test sequences for it."""
    config, _ = compose("train", parity_words(variant, lag, 0))
    seed_everything(0, verbose=False)
    data = build_data(Settings.of(config))
    model = build_model(Settings.of(config), data)
    return model, first_batch(data)


def first_batch(data: cellstate.data.SequenceData, rows: int = 500) -> Batch:
    """Return the first test sequences as one batch."""
    batches = list(data.loader("test", shuffle=False))
    inputs, targets = (torch.cat([getattr(batch, part) for batch in batches])[:rows] for part in ("inputs", "targets"))
    return batches[0]._replace(inputs=inputs, targets=targets)


# ---------------------------------------------------------------------- parts


def learning(figures: Path) -> None:
    """Length of memory by initialisation."""
    print("accuracy on the test split, mean of the seeds 0 and 1 (guessing 0.500, optimum 1.000)\n")
    print(f"{'lag':22}" + "".join(f"{lag:>8}" for lag in LAGS))
    scores = {}
    for name in VARIANTS:
        scores[name] = [
            statistics.mean(trained(name, lag, seed).metrics["test"]["accuracy"] for seed in SEEDS) for lag in LAGS
        ]
        print(f"{name:22}" + "".join(f"{score:8.3f}" for score in scores[name]), flush=True)
    save(figures / "recall.png", lambda theme: draw_recall(theme, scores))


def memory(figures: Path) -> None:
    """How long the parity of the first digit can be decoded from the state, before and after training."""
    shown = (1, 5, 10, 20, 30, 40)
    print(f"lag {SHOWN}: accuracy of a linear readout of the first digit's parity, steps after it (chance 0.500)\n")
    print(f"{'':34}" + "".join(f"{step:>8}" for step in shown))
    found: dict[str, dict[str, list[float]]] = {"untrained": {}, "trained": {}}
    for name in ALL_BUT_BIAS_0:
        run = trained(name, SHOWN)
        for label, model in (("untrained", untrained(name, SHOWN)[0]), ("trained", run.model)):
            curve = found[label][name] = readout(model, first_batch(run.data, 1000))
            print(f"{name:22}{label:12}" + "".join(f"{curve[step]:8.3f}" for step in shown), flush=True)
    save(figures / "memory.png", lambda theme: draw_memory(theme, found))


def readout(model: SequenceModel, batch: Batch) -> list[float]:
    """Return the accuracy of a linear readout of the first digit's parity from the state after each step."""
    states = capture(model, batch).states().layers[0]
    held = states.h if states.c is None else torch.cat([states.h, states.c], dim=-1)
    parity = batch.inputs[:, :2].argmax(-1) % 2
    # For each step a sequence of two, the first step and this one, so that the first digit is one step back.
    pairs = (torch.stack([held[:, 0], held[:, step]], dim=1) for step in range(SHOWN + 1))
    return [float(recall(pair, parity, [1]).values[0]) for pair in pairs]


def gradients(figures: Path) -> None:
    """Decay of the gradient of the loss over steps back, before and after training."""
    print(f"lag {SHOWN}: slope of log |gradient| for each step back\n")
    print(f"{'':22}{'untrained':>20}{'trained':>20}{'log spectral radius of U':>34}")
    print(f"{'':22}{'dL/dh':>10}{'dL/dc':>10}{'dL/dh':>10}{'dL/dc':>10}{'untrained':>22}{'trained':>12}")
    found: dict[str, dict[str, list[float]]] = {"untrained": {}, "trained": {}}
    for name in ALL_BUT_BIAS_0:
        run = trained(name, SHOWN)
        first = flow_of(*untrained(name, SHOWN))
        last = flow_of(run.model, first_batch(run.data))
        line, radii = f"{name:22}", ""
        for (flow, captured), kept in zip((first, last), found.values(), strict=True):
            part = "hidden" if flow.cell is None else "cell"
            logs = flow.mean_log_norm(part)
            kept[name] = (logs - logs[-1]).exp().flip(0).tolist()
            line += f"{flow.slope():10.3f}" + ("         -" if flow.cell is None else f"{flow.slope('cell'):10.3f}")
            if flow.cell is None:
                recurrent = captured.states().layers[0].weights.U
                radius = torch.linalg.eigvals(recurrent).abs().max().item()
                radii += f"{np.log(radius):{12 if radii else 22}.3f}"
        print(line + radii, flush=True)
    save(figures / "gradients.png", lambda theme: draw_gradients(theme, found))


def flow_of(model: SequenceModel, batch: Batch) -> tuple[LayerFlow, Captured]:
    """Return the flow of the model's own loss through its one layer."""
    captured = capture(model, batch)
    return captured.gradient_flow().layers[0], captured


def adding(_: Path) -> None:
    """The adding problem: two of fifty numbers are marked, and must be kept separate from the rest."""
    print("sum of two marked numbers among 50, mean squared error on the test split, seeds 0 and 1\n")
    for name in ALL_BUT_BIAS_0:
        words = ["experiment=adding", "data.length=50", "backbone.hidden_size=32", "trainer.max_epochs=4"]
        runs = [train([*words, "optimizer.lr=0.01", f"seed={seed}", *VARIANTS[name]]) for seed in SEEDS]
        print(f"{name:22}" + "".join(f"{run.metrics['test']['mse']:10.4f}" for run in runs), flush=True)
    for name, score in runs[0].metrics["reference"]["mse"].items():
        print(f"{name.replace('_', ' '):22}{score:10.4f}")


def gates(figures: Path) -> None:
    """Gates and cells of a trained network, for sequences and for the same with another first digit."""
    run = trained("LSTM, chrono", 20)
    batch = first_batch(run.data)
    other = batch.inputs.clone()
    other[:, 0] = other[:, 0].view(-1, 5, 2).flip(-1).flatten(1)  # 0 <-> 1, 2 <-> 3, ...
    pair = [capture(run.model, batch._replace(inputs=inputs)).states().layers[0] for inputs in (batch.inputs, other)]
    states, changed = pair
    kept, written, candidate = (states.gates[name] for name in ("forget", "input", "candidate"))
    order = time_constants(kept, states.valid).argsort(descending=True)
    print(
        "lag 20, LSTM with chrono start, 500 test sequences: means over the 8 units that keep longest, and over all\n"
    )
    print(f"{'':34}{'8 units':>10}{'all 32':>10}")
    for label, values in (
        ("forget gate", kept),
        ("input gate", written),
        ("|i * g|, added a step", (written * candidate).abs()),
        ("f_2 f_3 ... f_21, kept of c_1", kept[:, 1:].log().sum(1).exp()),
    ):
        print(f"{label:34}{values[..., order[:8]].mean():10.3f}{values.mean():10.3f}")
    assert states.c is not None
    assert changed.c is not None
    apart = (states.c - changed.c).abs().mean(0)  # (T, H)
    unit = int(apart[-1].argmax())
    print("\nthe first digit alone is replaced by one of the other parity: mean |difference| of the cell states\n")
    print(f"{'after step':22}" + "".join(f"{step:>8}" for step in (1, 5, 9, 13, 17, 21)))
    for label, values in (("mean of 32 units", apart.mean(-1)), (f"unit {unit}", apart[:, unit])):
        print(f"{label:22}" + "".join(f"{values[step - 1]:8.2f}" for step in (1, 5, 9, 13, 17, 21)))
    rows = []
    for each in pair:
        assert each.c is not None
        panels = {
            "forget gate": each.gates["forget"],
            "input gate": each.gates["input"],
            "tanh of the cell": each.c.tanh(),
        }
        rows.append([(label, values[0][:, order].T.numpy()) for label, values in panels.items()])
    digits = [inputs[0].argmax(-1).tolist() for inputs in (batch.inputs, other)]
    save(figures / "gates.png", lambda theme: draw_gates(theme, rows, digits), hues=256)


def clipping(_: Path) -> None:
    """Training with and without gradient clipping."""
    print("lag 20, learning rate 0.05, accuracy on the test split, seeds 0 and 1\n")
    print(f"{'':22}{'clipped at 1':>16}{'not clipped':>16}")
    for name in ("RNN, orthogonal", "LSTM, chrono"):
        line = f"{name:22}"
        for limit in ("1.0", "null"):
            words = ["optimizer.lr=0.05", f"trainer.gradient_clip_val={limit}"]
            found = [train([*parity_words(name, 20, seed), *words]).metrics["test"]["accuracy"] for seed in SEEDS]
            line += f"{' '.join(f'{score:.3f}' for score in found):>16}"
        print(line, flush=True)


def forecast(figures: Path) -> None:
    """The synthetic seasonal series: ten steps from fifty."""
    run = train(["experiment=seasonal"])
    references = run.metrics["reference"]
    print("seasonal, seed 0, test split, in the series' own units\n")
    print(f"{'':22}{'mae':>10}{'rmse':>10}")
    table = {"LSTM": run.metrics["test"]}
    names = dict.fromkeys(name for metric in ("mae", "rmse") for name in references[metric])
    table |= {name.replace("_", " "): {m: references[m].get(name, np.nan) for m in ("mae", "rmse")} for name in names}
    for name, row in table.items():
        print(f"{name:22}{row['mae']:10.3f}{row['rmse']:10.3f}")
    assert isinstance(run.model, Forecaster)
    series = seasonal_series(seed=0)
    origins = range(850, 1000, 10)  # the test split is the last 200 rows, the first 50 of which are the first window
    told = np.concatenate([run.model.predict(series.values[origin - 50 : origin]) for origin in origins])
    save(figures / "forecast.png", lambda theme: draw_forecast(theme, series, origins, told))


def text(_: Path) -> None:
    """A small character model on the help texts that come with Python."""
    run = train(["experiment=char_lm", "backbone.hidden_size=128", "trainer.max_epochs=2"])
    assert isinstance(run.model, LanguageModel)
    split = run.data.reported_split
    print(f"nats a character, {split} split, after {run.metrics['steps']} steps\n")
    for name, loss in {"LSTM of 128 units": run.metrics[split]["loss"], **run.metrics["reference"]["loss"]}.items():
        print(f"{name.replace('_', ' '):22}{loss:8.3f}")
    for temperature in (0.3, 0.8):
        print(f"\ntemperature {temperature}:\n")
        for line in ("The " + run.model.generate("The ", length=320, temperature=temperature, seed=0)).splitlines():
            print(textwrap.fill(line, 110))


# ---------------------------------------------------------------------- drawing


def save(path: Path, draw: Callable[[Theme], Figure], hues: int = 0) -> None:
    """Write a figure as PNG with the theme's palette, or with a number of its own colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not hues:
        path.write_bytes(canvas.render(draw, LIGHT))
        return
    with matplotlib.rc_context(LIGHT.rc()):
        drawn = draw(LIGHT).canvas
        assert isinstance(drawn, FigureCanvasAgg)
        drawn.draw()
    image, buffer = Image.fromarray(np.asarray(drawn.buffer_rgba())[..., :3]), io.BytesIO()
    image.quantize(hues, dither=Image.Dither.NONE).save(buffer, "PNG", dpi=(canvas.DPI, canvas.DPI), optimize=True)
    path.write_bytes(buffer.getvalue())


def draw_recall(theme: Theme, scores: dict[str, list[float]]) -> Figure:
    """Accuracy against lag, between chance and the optimum."""
    about = "accuracy on the test split by the lag that was trained for; mean of two seeds"
    figure = canvas.new_figure(theme, 3.2, "Was the first digit even?", about, width=7)
    axes = canvas.single_axes(figure)
    places = range(len(LAGS))
    for level in (0.5, 1.0):
        axes.axhline(level, color=theme.muted, lw=0.9, ls=(0, (4, 3)))
    for number, (name, values) in enumerate(scores.items()):
        shifted = [place + 0.035 * (number - 2) for place in places]  # avoids overlaps
        axes.plot(shifted, values, color=COLOURS[name], marker="os^Dv"[number], ms=4)
    axes.set_xticks(list(places), [str(lag) for lag in LAGS])
    axes.set(xlabel="lag, steps", ylim=(0.44, 1.04), yticks=[0.5, 0.75, 1.0])
    axes.text(0, 0.51, "guessing", color=theme.muted, va="bottom", fontsize=8)
    ends = [canvas.End(values[-1], name, theme.text(COLOURS[name])) for name, values in scores.items()]
    canvas.label_ends(axes, ends)
    return canvas.fit(figure)


def side_by_side(
    theme: Theme, title: str, about: str, curves: dict[str, dict[str, list[float]]]
) -> tuple[Figure, list[Axes]]:
    """Return a figure of two axes with curves over 0 ... SHOWN steps, without scales and labels."""
    width, height = 8.6, 3.5
    figure = canvas.new_figure(theme, height, title, about, width=width)
    every: list[Axes] = []
    for number, (label, lines) in enumerate(curves.items()):
        place = ((0.65 + 3.15 * number) / width, 0.6 / height, 2.85 / width, (height - 1.5) / height)
        axes = figure.add_axes(place)
        for name, values in lines.items():
            axes.plot(range(len(values)), values, color=COLOURS[name])
        axes.set_title(label, loc="left", fontsize=9, color=theme.ink)
        every.append(axes)
    return figure, every


def label_last(theme: Theme, axes: Axes, lines: dict[str, list[float]]) -> None:
    """Write the names at the ends of the curves."""
    ends = [canvas.End(values[-1], name, theme.text(COLOURS[name])) for name, values in lines.items()]
    canvas.label_ends(axes, ends)


def draw_memory(theme: Theme, found: dict[str, dict[str, list[float]]]) -> Figure:
    """Accuracy of a readout of the first digit, untrained and trained, side by side."""
    about = f"accuracy of a linear readout of its parity, on sequences that it was not fitted on; lag {SHOWN}"
    figure, both = side_by_side(theme, "For how long the state holds the first digit", about, found)
    for axes, lines in zip(both, found.values(), strict=True):
        axes.axhline(0.5, color=theme.muted, lw=0.9, ls=(0, (4, 3)))
        axes.set(ylim=(0.42, 1.04))
        axes.set_yticks([0.5, 0.75, 1.0], ["0.5", "0.75", "1"] if axes is both[0] else [""] * 3)
        canvas.whole_ticks(axes, 0, SHOWN, "steps after the first digit")
        if axes is both[1]:
            label_last(theme, axes, lines)
    return figure


def draw_gradients(theme: Theme, found: dict[str, dict[str, list[float]]]) -> Figure:
    """Norms of the gradient against steps back, untrained and trained, side by side."""
    about = f"norm against that at the last step; dL/dh of RNNs, dL/dc of LSTMs; lag {SHOWN}"
    figure, both = side_by_side(theme, "How much of the gradient arrives k steps back", about, found)
    every = [value for lines in found.values() for values in lines.values() for value in values]
    powers = [power for power in range(-30, 12, 2) if min(every) / 10 <= 10.0**power <= max(every) * 10]
    for axes, lines in zip(both, found.values(), strict=True):
        axes.set(yscale="log", ylim=(min(every) / 2, max(every) * 2))
        axes.set_yticks([], minor=True)
        shown = [powers_of_ten(power) for power in powers] if axes is both[0] else [""] * len(powers)
        axes.set_yticks([10.0**power for power in powers], shown)
        axes.set_ylim(min(every) / 2, max(every) * 2)
        canvas.whole_ticks(axes, 0, SHOWN, "steps back, k")
        if axes is both[1]:
            label_last(theme, axes, lines)
    return figure


def powers_of_ten(power: int) -> str:
    """Format a power of 10."""
    return "1" if power == 0 else "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def draw_gates(theme: Theme, rows: list[list[tuple[str, np.ndarray]]], digits: list[list[int]]) -> Figure:
    """Heat maps units x steps: forget gate, input gate, tanh of the cell, of two sequences."""
    width, height = 8.6, 5.5
    about = "LSTM of 32 units that has learnt to remember the first digit's parity; below, that digit alone is another"
    figure = canvas.new_figure(theme, height, "Gates and cells over 21 digits", about, width=width)
    for line, (row, read) in enumerate(zip(rows, digits, strict=True)):
        for column, (label, values) in enumerate(row):
            left, bottom, wide, high = 0.62 + 2.66 * column, 2.95 - 2.05 * line, 2.46, 1.72
            axes = figure.add_axes((left / width, bottom / height, wide / width, high / height))
            signed = column == 2
            hues = "PuOr" if signed else "cividis"
            picture = axes.imshow(
                values, aspect="auto", interpolation="nearest", cmap=hues, vmin=-1 if signed else 0, vmax=1
            )
            bare(axes, read)
            if line == 1:
                axes.set_xlabel("digit read", fontsize=8)
            if line == 0:
                axes.set_title(label, loc="left", fontsize=9, color=theme.ink)
            else:
                bar = figure.add_axes((left / width, 0.42 / height, wide / width, 0.09 / height))
                figure.colorbar(picture, cax=bar, orientation="horizontal").outline.set_visible(False)  # pyright: ignore
                bar.grid(visible=False)
                ticks = (-1, 0, 1) if signed else (0, 0.5, 1)
                bar.set_xticks(ticks, [f"{tick:g}".replace("-", "\u2212") for tick in ticks])
            if column == 0:
                which = "odd" if read[0] % 2 else "even"
                axes.set_ylabel(f"first digit {which}\nunits, longest memory on top", fontsize=8)
    return figure


def bare(axes: Axes, read: Sequence[int]) -> None:
    """Remove grid and ticks of a heat map, and write the input digits below it."""
    axes.grid(visible=False)
    axes.set_xticks(range(len(read)), [str(digit) for digit in read], fontsize=6.5)
    axes.set_yticks([])
    axes.tick_params(length=0)


def draw_forecast(theme: Theme, series: SeasonalSeries, origins: range, told: np.ndarray) -> Figure:
    """Observations, consecutive forecasts, and the signal without noise."""
    about = "test split, in the series' own units; every ten steps a forecast of the next ten"
    figure = canvas.new_figure(theme, 3.2, "A seasonal series, forecast", about, width=8)
    axes = canvas.single_axes(figure)
    steps = range(origins.start, origins.stop)
    # Wide and pale, to be visible behind the forecasts.
    axes.plot(steps, series.signal[steps.start :], color=theme.optimum, lw=5, alpha=0.45)
    axes.plot(steps, series.values[steps.start :], ".", color=theme.ink, ms=3.5)
    for number, origin in enumerate(origins):
        axes.plot(range(origin, origin + 10), told[10 * number : 10 * number + 10], color=theme.run)
        axes.axvline(origin - 0.5, color=theme.rule, lw=0.6)
    canvas.scale_y(axes, [*series.values[steps.start :], *told])
    canvas.whole_ticks(axes, steps.start, steps.stop - 1, "step")
    last = [(series.values[-1], "observed", theme.ink), (told[-1], "LSTM", theme.text(theme.run)),
            (series.signal[-1], "without noise", theme.text(theme.optimum))]  # fmt: skip
    canvas.label_ends(axes, [canvas.End(float(y), label, colour) for y, label, colour in last])
    return canvas.fit(figure)


PARTS: dict[str, Callable[[Path], None]] = {
    part.__name__: part for part in (gradients, learning, memory, adding, gates, clipping, forecast, text)
}


def main() -> None:
    """Run the requested parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--figures", type=Path, default=Path(__file__).parents[1] / "docs" / "figures")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: no part; there are {', '.join(PARTS)}")
    for name in options.parts or PARTS:
        print(f"\n--- {name}\n")
        PARTS[name](options.figures)


if __name__ == "__main__":
    main()
