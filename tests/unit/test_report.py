"""The report of a run: true numbers, legible figures, one file that needs nothing else, and never the run's life."""

from __future__ import annotations

import base64
import copy
import io
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import matplotlib.pyplot
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from tests.conftest import slow

import cellstate
from cellstate import report
from cellstate.data.splitting import Series
from cellstate.data.windows import WindowedData
from cellstate.errors import CellstateWarning
from cellstate.metrics.forecast import ForecastScores
from cellstate.model.classification import figures as classification
from cellstate.model.forecasting import figures as forecasting
from cellstate.model.language import figures as tokens
from cellstate.model.material import Material
from cellstate.plotting import canvas
from cellstate.plotting.examples import examples
from cellstate.plotting.theme import DARK, LIGHT, THEMES, Theme, channels, distance
from cellstate.report import document
from cellstate.report.run import learning, standing
from cellstate.report.run.results import best_of, result_table, verdict
from cellstate.training.run import Run

HOSTILE = "<script>alert('$x_1$')</script>&amp;"
EACH_EPOCH = ["trainer.val_check_interval=1.0", "trainer.check_val_every_n_epoch=1"]  # validate
SMALL = ["trainer.accelerator=cpu", "backbone.hidden_size=8", *EACH_EPOCH]
VOID = {"meta", "img", "source", "br", "link", "input", "hr"}


# ---------------------------------------------------------------------- runs, trained once for all tests


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Run]:
    """A small run of each kind: classes, a synthetic series, a file with a hostile column, text."""
    folder = tmp_path_factory.mktemp("runs")
    rows = [f'{100 * np.sin(hour / 4):.3f},"{hour % 7}"' for hour in range(200)]
    (folder / "<b>&.csv").write_text("\n".join([f"{HOSTILE},other", *rows]) + "\n")
    (folder / "one line.txt").write_text("ab\x0c<i>c</i>\x1b[0m & d " * 400)
    sizes = ["data.train_size=128", "data.val_size=64", "data.test_size=64"]
    series = ["data.window=12", "data.horizon=4", "data.season=6"]
    asked = {
        "pattern": ["experiment=pattern", *sizes, "trainer.max_epochs=3"],
        "seasonal": ["experiment=series", "data=seasonal", "data.length=300", "trainer.max_epochs=2"],
        "hostile": [
            *("experiment=series", f"data.path='{folder}/<b>&.csv'", "trainer.max_epochs=1", *series),
            f'data.target=["{HOSTILE}",other]',
        ],
        "text": [
            *("experiment=char_lm", f"data.path='{folder}/one line.txt'", "trainer.max_epochs=1"),
            *("data.batch_size=8", "data.eval_streams=8", "model.embedding_size=4"),
        ],
    }
    return {
        name: cellstate.train([*overrides, *SMALL, f"hydra.run.dir={folder / name}"])
        for name, overrides in asked.items()
    }


KINDS = ("pattern", "seasonal", "hostile", "text")


def material_of(run: Run, **changes: object) -> Material:
    return Material(**{"metrics": run.metrics, "history": run.history, "data": run.data, "model": run.model, **changes})


def drawings_of(material: Material):
    model = material.model
    return [*learning.drawings(material, model.headline), *model.section(material).drawings]


def drawn(draw, theme: Theme = LIGHT) -> Figure:
    with matplotlib.rc_context(theme.rc()):
        figure = draw(theme)
        figure.canvas.draw()
    return figure


# ---------------------------------------------------------------------- reading a page back


class Page(HTMLParser):
    """Elements with their attributes, the text between them, and whether each that opens is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.rows: list[dict] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"an attribute twice in <{tag}>"
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append({"class": attributes.get("class", ""), "name": "", "cells": []})
        elif tag == "td":
            self.rows[-1]["cells"].append(None)
        elif tag == "data":
            self.rows[-1]["cells"][-1] = float(attributes["value"])

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without its beginning"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open[-2:] == ["th", "span"] and not self.rows[-1]["name"]:
            self.rows[-1]["name"] = data


def read_page(run: Run) -> Page:
    return Page((run.folder / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_well_formed_and_needs_nothing_but_itself(runs, kind):
    content = (runs[kind].folder / "report.html").read_text(encoding="utf-8")
    found = Page(content)
    assert {tag for tag, _ in found.elements} & {"script", "link", "iframe", "object", "base"} == set()
    sources = [a[key] for _, a in found.elements for key in ("src", "srcset", "href", "action", "data") if key in a]
    assert len(sources) == 2 * len([tag for tag, _ in found.elements if tag == "img"]) > 0
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not [a for _, a in found.elements if any(name.startswith("on") for name in a)]
    style = content[content.index("<style>") : content.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_holds_every_number_of_metrics_json_on_the_reported_split(runs, kind):
    run = runs[kind]
    metrics = json.loads((run.folder / "metrics.json").read_text())
    rows = {row["name"]: row["cells"] for row in read_page(run).rows if row["name"]}
    split = run.data.reported_split
    columns = list(metrics[split])
    assert rows.pop(f"this run, {split}") == list(metrics[split].values())
    if split != "val":
        assert rows.pop("this run, val") == [metrics["val"][name] for name in columns]
    expected = {
        name.replace("_", " "): [metrics["reference"].get(column, {}).get(name) for column in columns]
        for name in {name for values in metrics["reference"].values() for name in values}
    }
    assert rows == expected


@pytest.mark.parametrize("kind", KINDS)
def test_text_from_outside_stays_text(runs, kind):
    found = read_page(runs[kind])
    assert not [tag for tag, _ in found.elements if tag in ("script", "b", "i")]
    # No control character but the line's end and the tab may stand in a page.
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", found.text)


def test_a_hostile_column_and_file_name_are_shown_as_they_are(runs):
    text = read_page(runs["hostile"]).text
    assert HOSTILE in text
    assert "<b>&.csv" in text


def test_control_characters_become_their_pictures():
    assert document.printable("a\x00\x1b[0m\tb\nc\x7f\ud800") == "a\u2400\u241b[0m\tb\nc\ufffd\ufffd"


def test_a_page_shows_text_at_three_temperatures(runs):
    run = runs["text"]
    model = run.model
    text = read_page(run).text
    prompt, came = tokens.beginning(material_of(run))
    content = "".join(model.spec.vocabulary[token] for token in run.data.prepared.splits["val"].tokens.tolist())
    assert prompt + came in content  # they are a piece of the split, as it stands there
    for temperature in (0.5, 0.8, 1.0):
        assert f"temperature {temperature}" in text
        sample = model.generate(prompt, 300, temperature=temperature)
        assert document.printable(prompt + sample) in text
    assert document.printable(prompt + came) in text


# ---------------------------------------------------------------------- the run and its report


def test_a_report_that_fails_costs_the_run_nothing_and_says_why(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise KeyError("no such\nfont")

    monkeypatch.setattr(report, "write", broken)
    sizes = ["data.train_size=64", "data.val_size=64", "data.test_size=64"]
    words = ["experiment=pattern", *sizes, *SMALL, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}"]
    with pytest.warns(CellstateWarning, match="KeyError: 'no such.*font'") as warned:
        run = cellstate.train(words)
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "completed"
    assert json.loads((tmp_path / "metrics.json").read_text()) == run.metrics
    assert cellstate.load(tmp_path).predict([1.0] * 20)["classes"].shape == ()
    assert len([one for one in warned if one.category is CellstateWarning]) == 1
    assert not capsys.readouterr().err  # Python shows a warning as its caller likes
    assert not (tmp_path / "report.html").exists()


def test_report_false_leaves_it_out(tmp_path):
    sizes = ["data.train_size=64", "data.val_size=64", "data.test_size=64"]
    asked = ["experiment=pattern", *sizes, *SMALL, "trainer.max_epochs=1", "report=false"]
    cellstate.train([*asked, f"hydra.run.dir={tmp_path}"])
    assert {"report.html", "figures"}.isdisjoint(entry.name for entry in tmp_path.iterdir())


def test_drawing_leaves_no_setting_and_no_open_figure_behind(runs, tmp_path):
    run = runs["pattern"]
    shutil.copytree(run.folder, tmp_path / "run")
    before = copy.deepcopy(dict(matplotlib.rcParams))
    report.write(tmp_path / "run", run.metrics, run.history, run.data, run.model)
    assert dict(matplotlib.rcParams) == before
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_needs_neither_references_nor_a_best_epoch(runs, kind, tmp_path):
    run = runs[kind]
    shutil.copytree(run.folder, tmp_path / "run")
    best = {"epoch": None, "step": None, "monitor": "val/loss", "value": float("inf")}
    metrics = {**run.metrics, "reference": {}, "best": best, "val": {}, run.data.reported_split: run.metrics["val"]}
    report.write(tmp_path / "run", metrics, run.history[:1], run.data, run.model)
    found = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert [row["class"] for row in found.rows if row["name"]] == ["run"]  # alone, it is not called the best


# ---------------------------------------------------------------------- ranks and words


def test_the_best_row_and_the_best_cells_are_those_of_the_better_predictor(runs):
    run = runs["seasonal"]
    table = result_table(material_of(run), "mae")
    compared = {row.name: row for row in table.rows if row.kind in ("run", "baseline")}
    for column, metric in enumerate(table.metrics):
        values = {name: row.cells[column].value for name, row in compared.items()}
        known = {name: value for name, value in values.items() if value is not None}
        marked = {name for name, row in compared.items() if row.cells[column].best}
        least = min(known.values())  # all metrics of a forecast are errors
        assert marked == ({name for name, value in known.items() if value == least} if len(known) > 1 else set()), (
            metric
        )
    maes = [row.cells[table.metrics.index("mae")].value for row in compared.values()]
    assert maes == sorted(maes)
    assert [row.best for row in compared.values()] == [True] + [False] * (len(compared) - 1)
    assert not any(row.best or any(cell.best for cell in row.cells) for row in table.rows if row.name not in compared)


def test_higher_is_better_for_shares_and_lower_for_errors():
    assert best_of("accuracy", [0.2, None, 0.9, float("nan")]) == 0.9
    assert best_of("mae", [0.2, None, 0.9, float("inf")]) == 0.2
    assert best_of("mae", [0.2, None]) is None


def test_the_verdict_names_the_best_baseline_and_the_optimum(runs):
    run = runs["seasonal"]

    def said(value: float) -> str:
        reference = {"mae": {"optimum": 0.8, "optimum_realised": 0.75, "last_value": 5.0, "ridge_linear": 1.1}}
        return verdict(material_of(run, metrics={"test": {"mae": value}, "reference": reference}), "mae")

    optimum = " The best possible predictor scores 0.8000, and 0.7500 for the noise in this split."
    assert said(0.9) == "Better than all of 2 baselines; the best is ridge linear at 1.1000." + optimum
    assert said(1.1) == "As good as the best of 2 baselines; the best is ridge linear at 1.1000." + optimum
    assert said(2.0) == "1 of 2 baselines is better; the best is ridge linear at 1.1000." + optimum
    assert said(9.0) == "2 of 2 baselines are better; the best is ridge linear at 1.1000." + optimum


# ---------------------------------------------------------------------- figures: that they are there, and true


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("pattern", {"standing", "learning_curves", "validation_accuracy", "confusion_matrix", "calibration"}),
        ("seasonal", {"standing", "learning_curves", "validation_mae", "forecasts", "error_by_step"}),
        ("hostile", {"standing", "learning_curves", "validation_mae", "forecasts", "error_by_step"}),
        ("text", {"standing", "learning_curves", "validation_bpc", "bits_by_position"}),
    ],
)
def test_the_figures_of_each_task_are_files_and_in_the_page_in_both_themes(runs, kind, names):
    run = runs[kind]
    files = {file.stem: file.read_bytes() for file in (run.folder / "figures").iterdir()}
    assert set(files) == names
    elements = read_page(run).elements
    light = [a["src"] for tag, a in elements if tag == "img"]
    dark = [a["srcset"] for tag, a in elements if tag == "source"]
    assert sorted(light) == sorted(
        "data:image/png;base64," + base64.b64encode(file).decode() for file in files.values()
    )
    for theme, sources in ((LIGHT, light), (DARK, dark)):
        assert len(sources) == len(names)
        for source in sources:
            image = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
            assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
            assert image.width == 200 * canvas.WIDTH
            pixels = np.asarray(image.convert("RGB"))
            ground = np.asarray(channels(theme.surface))
            assert (pixels[0, 0] == ground).all()  # as the page around it
            assert 0.01 < (pixels != ground).any(axis=-1).mean() < 0.9
            assert len(image.convert("RGB").getcolors(256)) > 20


def test_no_hue_of_a_theme_is_lost_in_the_palette():
    for theme in THEMES:
        hues = {theme.surface, theme.ink, theme.muted, theme.rule, theme.run, theme.train, theme.optimum}
        assert hues | set(theme.baselines) <= set(theme.palette())
        assert len(theme.palette()) <= 256
        assert min(distance(a, b) for a, b in itertools.combinations(hues, 2)) > 20


def contrast(colour: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.1: (L1 + 0.05) / (L2 + 0.05) of the relative luminances."""
    luminances = []
    for hue in (colour, other):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in channels(hue))]
        luminances.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_what_is_written_stands_out_from_its_ground(theme):
    for ground in (theme.page, theme.surface):
        assert contrast(theme.ink, ground) > 7
        assert contrast(theme.muted, ground) > 4.5
        for hue in (theme.run, theme.train, theme.optimum, *theme.baselines):
            assert contrast(theme.text(hue), ground) > 3


def test_the_loss_figure_rings_the_best_epoch_at_its_value(runs):
    run = runs["pattern"]
    figure = drawn(drawings_of(material_of(run))[0].draw)
    ring = [line for line in figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert len(ring) == 1
    best = run.metrics["best"]
    assert list(ring[0].get_xdata()) == [best["epoch"] + 1]
    assert list(ring[0].get_ydata()) == [run.history[best["epoch"]]["val/loss"]]


def test_curves_run_over_steps_where_validations_are_not_those_of_each_epoch():
    def clock(*rows: tuple[int, int], epochs: int, steps: int) -> str:
        return learning.clock_of([{"epoch": a, "step": b} for a, b in rows], epochs=epochs, steps=steps)

    assert clock((0, 130), (1, 260), epochs=2, steps=260) == "epoch"
    assert clock((0, 130), epochs=1, steps=130) == "epoch"
    assert clock((0, 100), (1, 200), (2, 260), epochs=2, steps=260) == "step"  # every 100 steps, and at the end
    assert clock((0, 50), (0, 100), epochs=1, steps=100) == "step"
    assert clock((1, 200), (3, 400), epochs=4, steps=400) == "step"
    assert clock((2, 300), epochs=3, steps=300) == "step"  # resumed
    history = [
        {"epoch": 0, "step": 100, "val/loss": 0.1, "train/loss": None},
        {"epoch": 1, "step": 200, "val/loss": 0.2},
    ]
    assert learning.curve(history, "val/loss", "step") == ([100, 200], [0.1, 0.2])
    assert learning.curve(history, "val/loss", "epoch") == ([1, 2], [0.1, 0.2])
    assert learning.curve(history, "train/loss", "step") == learning.curve(history, "no/such", "step") == ([], [])


@pytest.mark.parametrize(("kind", "metric"), [("pattern", "accuracy"), ("seasonal", "mae"), ("text", "bpc")])
def test_each_reference_has_its_dot_and_those_within_reach_a_line_beside_the_curve(runs, kind, metric):
    run = runs[kind]
    reference = run.metrics["reference"][metric]
    axes = drawn(standing.drawings(material_of(run), metric, "unit")[0].draw).axes[0]
    dots = {line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"}
    assert dots == {*reference.values(), run.metrics[run.data.reported_split][metric]}
    assert {label.get_text() for label in axes.get_yticklabels()} >= {name.replace("_", " ") for name in reference}

    axes = drawn(drawings_of(material_of(run))[1].draw).axes[0]
    lines = {line.get_ydata()[0] for line in axes.lines if line.is_dashed()}
    curve = [row[f"val/{metric}"] for row in run.history]
    baselines = {name: value for name, value in reference.items() if not name.startswith("optimum")}
    wanted = {value for name, value in reference.items() if name.startswith("optimum")}
    wanted.add((max if metric == "accuracy" else min)(baselines.values()))
    wanted |= {value for value in baselines.values() if min(curve) <= value <= max(curve)}
    assert lines - {run.metrics["test"].get(metric)} == wanted - {run.metrics["test"].get(metric)}
    labels = {text.get_text().rsplit(" ", 1)[0] for text in axes.texts}
    assert labels >= {name.replace("_", " ") for name, value in reference.items() if value in wanted}


def test_the_error_by_step_has_the_reported_error_as_its_mean(runs):
    for kind in ("seasonal", "hostile"):
        found = forecasting.collect(material_of(runs[kind]))
        assert np.mean(forecasting.by_step(found.forecasts, found.truth)) == pytest.approx(
            runs[kind].metrics["test"]["mae"]
        )
        for name, forecast in found.baselines.items():
            reference = runs[kind].metrics["reference"]["mae"][name]
            # The truth of the scores was single precision, of values around 100.
            assert np.mean(forecasting.by_step(forecast, found.truth)) == pytest.approx(reference, rel=1e-6, abs=1e-5)


def test_the_band_is_the_signal_and_the_truth_is_the_series(runs):
    run = runs["seasonal"]
    found = forecasting.collect(material_of(run))
    horizon = run.data.spec.horizon
    rows = found.starts[:, None] + np.arange(horizon)
    np.testing.assert_allclose(found.truth[..., 0], found.values[rows, 0], atol=1e-4)
    # What the signal leaves of the truth is the noise as it was drawn: its error is the optimum realised.
    left = np.abs(found.truth[..., 0] - found.signal[rows, 0]).mean()
    assert left == pytest.approx(run.metrics["reference"]["mae"]["optimum_realised"], rel=1e-4)
    assert found.noise_std == 1.0


def test_the_windows_shown_lie_at_fixed_ranks_of_the_error():
    errors = np.random.default_rng(0).permutation(101) / 100
    assert {name: errors[index] for name, index in examples(errors).items()} == {
        "easy": 0.1,
        "typical": 0.5,
        "hard": 0.9,
    }
    assert examples(np.array([3.0])) == {"the only window": 0}


def test_without_a_test_split_the_figures_show_the_best_weights(tmp_path):
    # At this learning rate the loss goes up and down from step to step, and the last weights are not the best ones.
    run = cellstate.train(
        [
            *("experiment=series", "data=seasonal", "data.length=300", "data.split=[0.7,0.3,0]", *SMALL),
            *("optimizer.lr=0.1", "scheduler=none", "trainer.max_epochs=4", "trainer.val_check_interval=1"),
            f"hydra.run.dir={tmp_path}",
        ]
    )
    assert run.metrics["best"]["step"] < run.metrics["steps"]
    assert run.data.reported_split == "val"
    found = forecasting.collect(material_of(run))
    assert found.errors.mean() == pytest.approx(run.metrics["val"]["mae"])


def test_a_confusion_matrix_holds_counts_and_row_shares():
    counts = np.array([[90, 10], [1, 2999]])
    figure = drawn(lambda theme: classification.confusion_matrix(theme, counts, ("a", "b"), title="t"))
    assert [text.get_text() for text in figure.axes[0].texts] == [
        *("90", "90.0 %", "10", "10.0 %", "1", "0.1 %", "2,999", "99.9 %")
    ]
    assert classification.percentage(1.0) == "100 %"
    assert classification.percentage(0.99999) == "99.9 %"
    assert classification.percentage(0.0) == "0 %"


# ---------------------------------------------------------------------- figures: that they can be read


def written(figure: Figure) -> list[tuple[str, np.ndarray]]:
    """Return each text that a figure shows, with its left, lower, right and upper end in pixels."""
    renderer = figure.canvas.get_renderer()  # pyright: ignore[reportAttributeAccessIssue]
    ticks = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if not label.get_visible() or not axis.get_visible()
    }
    shown = [
        text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in ticks
    ]
    return [(text.get_text(), np.array(text.get_window_extent(renderer).extents)) for text in shown]


def assert_legible(figure: Figure) -> None:
    width, height = figure.canvas.get_width_height()
    found = written(figure)
    for text, (left, low, right, high) in found:
        assert left >= 0, text
        assert low >= 0, text
        assert right <= width, text
        assert high <= height, text
    for (text, box), (other, beside) in itertools.combinations(found, 2):
        # A font's line is higher than its letters: boxes of neighbouring lines may share a pixel or two.
        apart = max(box[0] - beside[2], beside[0] - box[2], box[1] - beside[3], beside[1] - box[3])
        assert apart >= -2, (text, other)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_written_overlaps_or_is_cut_off(runs, kind, theme):
    for drawing in drawings_of(material_of(runs[kind])):
        assert_legible(drawn(drawing.draw, theme))


BEST = {"epoch": 0, "step": 1, "monitor": "val/loss", "value": 0.5}


@pytest.mark.parametrize(
    "values",
    [
        [0.5],
        [0.0, 0.0],
        [0.5, 0.4999999],
        [3e7, 2e6, 1.5e6],
        [1e-9, 3e-12],
        [-4.0, -1234.5],
        [0.7 * 0.98**epoch for epoch in range(400)],
        [0.7 * 0.8**epoch for epoch in range(1000)],
    ],
    ids=["one epoch", "zero", "flat", "large", "small", "negative", "400 epochs", "1000 epochs"],
)
def test_curves_of_any_size_and_length_are_legible(values):
    epochs = list(range(1, len(values) + 1))
    losses = {"train": (epochs, [1.3 * value for value in values]), "val": (epochs, values)}
    assert_legible(drawn(lambda theme: learning.loss_curves(theme, losses, best=BEST, unit="nats per sample")))


def test_labels_of_many_predictors_with_one_value_do_not_touch():
    reference = {f"seasonal_naive_drift_{number}": 1.25 + number * 1e-6 for number in range(9)}
    figure = drawn(
        lambda theme: learning.metric_curve(
            theme,
            ([1, 2], [1.5, 1.3]),
            metric="mae",
            label="mean absolute error, in the data's own units",
            reference={**reference, "optimum": 1.2, "last_value": 80.0},
            result=1.25,
            split="test",
        )
    )
    assert_legible(figure)


@pytest.mark.parametrize("word", ["class $number$", "W" * 20, ""])
@pytest.mark.parametrize("classes", [1, 3, 10, 30, *slow(2, 5, 11, 60)])
def test_a_confusion_matrix_of_any_size_is_legible(classes, word):
    counts = np.random.default_rng(classes).integers(0, 2000, (classes, classes))
    names = [f"{word}{number}" for number in range(classes)]
    figure = drawn(lambda theme: classification.confusion_matrix(theme, counts, names, title="Confusion matrix"))
    assert_legible(figure)


class Ramp(WindowedData):
    """A series without season whose columns have long names and large values."""

    def series(self) -> Series:
        values = np.cumsum(np.random.default_rng(0).normal(size=(120, 2)), axis=0)
        return Series(
            values * [1e6, 1e-3] + [5e7, 0], ("a column with a name that no figure can hold: 売上高 " * 2, "b")
        )


@pytest.mark.parametrize("horizon", [1, 2, 30])
def test_forecasts_of_any_horizon_are_legible_without_season_and_optimum(horizon):
    data = Ramp(window=8, horizon=horizon, split=[0.4, 0.3, 0.3], batch_size=8)
    samples = data.prepared.splits["test"]
    scores = ForecastScores(data.spec)
    batch = samples.batch(torch.arange(len(samples)))
    scores.update(batch.targets + 0.1, batch.targets)

    class Model:
        last_scores = scores

    metrics = {"test": {}, "reference": data.reference_table()}
    for drawing in forecasting.section(Material(metrics, [], data, Model())).drawings:  # pyright: ignore
        assert_legible(drawn(drawing.draw))


def test_labels_are_spread_no_more_than_needed():
    limits = (0.0, 100.0)
    assert canvas.spread([5, 50, 90], 10, limits) == [5, 50, 90]
    assert canvas.spread([50, 50], 10, limits) == [45, 55]
    assert canvas.spread([2, 3], 10, limits) == [0, 10]
    assert canvas.spread([99, 99.5], 10, limits) == [90, 100]
    random = np.random.default_rng(0)
    for count in (1, 2, 5, 11, 30):
        places = canvas.spread(sorted(random.uniform(0, 100, count)), 10, limits)
        assert np.diff(places).min(initial=100) >= min(10, 100 / max(count - 1, 1)) - 1e-9
        assert min(places) >= -1e-9
        assert max(places) <= 100 + 1e-9


@pytest.mark.parametrize(("low", "high"), [(1.0, 9.0), (0.7, 6.0), (1e-9, 1.0), (1.01, 1.02), (0.3, 0.4), (5.0, 5e6)])
def test_a_logarithmic_axis_has_two_to_seven_ticks_within_its_limits(low, high):
    ticks = [tick for tick in canvas.log_ticks(low, high) if low <= tick <= high]
    assert 2 <= len(ticks) <= 7
    assert ticks == sorted(set(ticks))


def test_names_from_outside_become_one_short_line():
    assert canvas.name("a\n b\tc\x00") == "a b c\ufffd"
    assert canvas.name("x" * 100) == "x" * (canvas.LONGEST - 1) + "…"


def test_a_report_is_small(runs):
    for run in runs.values():
        assert (run.folder / "report.html").stat().st_size < 600_000
        assert Path(run.folder / "figures").is_dir()
