"""``cellstate inspect`` over all tasks and backbones: what it writes is what the network does."""

from __future__ import annotations

import csv
import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.conftest import Command, slow

import cellstate as package
from cellstate.backbone import TransparentGRU, TransparentLSTM
from cellstate.backbone.transparent import transparent
from cellstate.inspection.analysis import open_states
from cellstate.inspection.analysis.walk import signed
from cellstate.inspection.teaching import three_units
from cellstate.model import Forecaster

QUICK = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "backbone.hidden_size=6", "report=false")
SIZES = ("data.train_size=64", "data.val_size=48", "data.test_size=48")
TEXT = 'He said "it is (perhaps) so".\nAnd 12 went by.\n\n' * 40
RUNS = {
    "stacked bidirectional": ("experiment=pattern_bilstm", "backbone.num_layers=2", *SIZES),
    "simple": ("experiment=pattern", "backbone=rnn", *SIZES),
    "one-hot": ("experiment=first_parity", "data.encoding=one_hot", "backbone=gru_transparent", *SIZES),
    "regression": ("experiment=adding", "data.length=10", "backbone=lstm_transparent", *SIZES),
    "regression, gru": ("experiment=adding", "data.length=10", "backbone=gru", *SIZES),
    "forecast": ("experiment=seasonal", "data.length=400", "model.head=gaussian"),
    "quantiles": ("experiment=seasonal", "data.length=400", "model.head=quantile", "backbone=rnn_transparent"),
    "text": ("experiment=char_lm", "data.path={folder}/text.txt", "data.batch_size=4", "data.eval_streams=4"),
    "states": ("experiment=embedded_reber", *SIZES),
}
ALIKE = ("simple", "regression", "regression, gru", "forecast")  # to others in what is opened, or in the task


@functools.cache
def run_of(kind: str, folder: Path) -> Path:
    """The run folder of one kind, trained once."""
    (folder / "text.txt").write_text(TEXT)
    words = [word.format(folder=folder) for word in RUNS[kind]]
    places = [f"hydra.run.dir='{folder / kind}'", f"ledger='{folder / 'ledger.csv'}'"]
    return package.train([*words, *QUICK, *places]).folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("kind", [*(kind for kind in RUNS if kind not in ALIKE), *slow(*ALIKE)])
def test_any_network_is_opened_and_its_arrays_are_what_it_goes_through(cellstate: Command, folder, kind):
    run = run_of(kind, folder)
    answer = cellstate("inspect", f"checkpoint='{run}'", "sequences=4", "report=false", "output=seen")
    assert (answer.status, answer.stderr) == (0, "")
    assert "half-memory length" in answer.stdout
    arrays = np.load("seen/arrays.npz")
    assert "seen/arrays.npz" in answer.stdout
    # The network itself, run again on what the arrays say that it read, and stepped through by its own contract.
    model: Any = package.load(run)
    inputs, valid = torch.from_numpy(arrays["inputs"]), torch.from_numpy(arrays["valid"])
    assert len(inputs) == len(arrays["keys"]) == 4
    lengths = valid.sum(1)
    with torch.no_grad():
        outputs, _ = model.backbone(inputs, None, lengths)
    names = sorted({name.split(".")[0] for name in arrays.files if re.match(r"l\d", name)})
    top = max(name[:2] for name in names)
    found = np.concatenate([arrays[f"{name}.h"] for name in names if name[:2] == top], axis=-1)
    np.testing.assert_allclose(found, outputs.numpy(), atol=1e-5)
    opened = open_states(model.backbone, inputs, None, lengths)
    for name, values in opened.arrays().items():
        np.testing.assert_allclose(arrays[name], values, atol=1e-5)
    for name in names:
        assert arrays[f"{name}.dh_norm"].shape == valid.shape
        assert np.isfinite(arrays[f"{name}.dh_norm"][valid.numpy()]).all()
    lasts = arrays["influence.lags"].max()
    assert lasts < 128
    assert np.isfinite(arrays["influence.half_memory"]).all() or np.isnan(arrays["influence.half_memory"]).all()


@pytest.mark.parametrize("kind", ["forecast", "quantiles"])
def test_a_forecaster_shows_that_it_sees_the_newest_input_and_no_future(cellstate: Command, folder, kind):
    answer = cellstate("inspect", f"checkpoint={run_of(kind, folder)}", "sequences=4", "report=false", "output=seen")
    assert "every step of the forecast sees the newest input and none sees the future" in " ".join(
        answer.stdout.split()
    )
    arrays = np.load("seen/arrays.npz")
    assert (arrays["field.head"][:, -1] > 0).all()
    assert not arrays["field.series"][:, arrays["field.head"].shape[1] :].any()


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_the_table_of_a_stacked_bidirectional_network_is_whole_on_any_terminal(
    cellstate: Command, folder, monkeypatch, columns
):
    monkeypatch.setenv("COLUMNS", columns)
    run = run_of("stacked bidirectional", folder)
    answer = cellstate("inspect", f"checkpoint='{run}'", "sequences=4", "report=false", "output=seen")
    table = answer.stdout.partition("inspected on")[0]
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= int(columns)
    # Each layer and direction has its own numbers, those of the arrays.
    arrays = np.load("seen/arrays.npz")
    for name in ("l0", "l0_reverse", "l1", "l1_reverse"):
        for gate in ("forget", "input", "output"):
            shares = (100 * arrays[f"{name}.{gate}.{part}"].mean() for part in ("shut", "open"))
            assert "{:.0f} / {:.0f} %".format(*shares) in table
        assert len(re.findall(rf"\b{name}\b", table)) == 1
    assert len(re.findall(r"\d+ / \d+ %", table)) == 12


def sliced(self, window, covariates, frame):  # noqa: ARG001
    """The fault: step j of the forecast is read off the output of j steps before the end."""
    outputs, _ = self.backbone(self.embedding(window.reshape(len(window), -1, self.segment * window.shape[-1])))
    first = self.head.weight[: self.kind.size]
    return (outputs[:, -self.spec.horizon :] @ first.T).unsqueeze(2)


def test_a_head_that_hides_the_newest_input_ends_with_1_and_one_line_and_leaves_the_page(
    cellstate: Command, folder, monkeypatch
):
    run = run_of("forecast", folder)
    monkeypatch.setattr(Forecaster, "_numbers", sliced)
    answer = cellstate("inspect", f"checkpoint={run}", "sequences=4", "output=seen")
    assert answer.status == 1
    (line,) = answer.errors
    assert "do not see the newest input" in line
    assert "FAILS" in answer.stdout
    assert "Unexpected receptive field" in Path("seen/report.html").read_text()


def test_a_look_at_the_test_split_leaves_a_line_in_the_ledger_and_the_default_none(cellstate: Command, folder):
    run = run_of("simple", folder)
    few = ("sequences=4", "report=false", "ledger=book.csv")
    assert cellstate("inspect", f"checkpoint={run}", *few).status == 0
    assert not Path("book.csv").exists()
    answer = cellstate("inspect", f"checkpoint={run}", *few, "split=test")
    assert "test split evaluated once (book.csv)" in answer.stdout
    (row,) = csv.DictReader(Path("book.csv").read_text().splitlines())
    assert (row["command"], row["split"]) == ("inspect", "test")
    assert cellstate("inspect", f"checkpoint={run}", *few, "split=train").status == 0
    assert len(Path("book.csv").read_text().splitlines()) == 2
    folders = [place for place in Path("outputs/inspections/pattern").iterdir() if (place / "arrays.npz").is_file()]
    assert len(folders) == 3, "each inspection has a folder of its own"


def test_nothing_is_written_over(cellstate: Command, folder):
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("keep")
    for output in ("mine", "mine/notes.txt"):
        answer = cellstate("inspect", f"checkpoint={run_of('simple', folder)}", f"output={output}")
        assert answer.status == 2
        assert len(answer.errors) == 1
    assert [file.name for file in Path("mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "checkpoint: a value is required"),
        (("checkpoint=none.ckpt",), "none.ckpt"),
        (("checkpoint={run}", "split=tset"), "split"),
        (("checkpoint={run}", "sequences=0"), "sequences"),
        (("checkpoint={run}", "sequence=9", "sequences=8"), "sequence=9"),
        (("checkpoint={run}", "steps=5"), "steps"),
        (("checkpoint={run}", "input=none.csv"), "none.csv"),
        (("checkpoint={run}", "input=x.csv", "data.path=y.csv"), "input=x.csv"),
        (("walk=true", "input=x.csv"), "input"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(cellstate: Command, folder, words, complaint):
    Path("x.csv").write_text("id,time,value\n1,1,0\n")
    answer = cellstate("inspect", *(word.format(run=run_of("simple", folder)) for word in words))
    assert answer.status == 2
    (line,) = answer.errors
    assert complaint in line
    assert not Path("outputs").exists()


# ---------------------------------------------------------------------- sequences of one's own


def test_given_sequences_are_read_as_predict_reads_them(cellstate: Command, folder):
    bits = ["0110", "110", "0000000"]
    rows = [(name, step, float(bit)) for name, row in enumerate(bits) for step, bit in enumerate(row)]
    pl.DataFrame(rows, schema=["id", "time", "value"], orient="row").write_csv("bits.csv")
    run = run_of("stacked bidirectional", folder)
    assert cellstate("inspect", f"checkpoint='{run}'", "input=bits.csv", "report=false", "output=seen").status == 0
    arrays = np.load("seen/arrays.npz")
    assert arrays["valid"].sum(1).tolist() == [4, 3, 7]
    assert arrays["inputs"][0, :4, 0].tolist() == [0, 1, 1, 0]
    assert arrays["keys"].tolist() == ["id 0", "id 1", "id 2"]


def test_a_given_series_a_text_and_states_are_opened(cellstate: Command, folder):
    series = 10 + 5 * np.sin(np.arange(120) / 3)
    pl.DataFrame({"value": series}).write_csv("series.csv")
    Path("own.txt").write_text('"Quoted" and (not) so.\n' * 30)
    Path("own_states.txt").write_text("B T B T S X S E T E\nB P B T S X S E P E\n")
    for kind, file in (("forecast", "series.csv"), ("text", "own.txt"), ("states", "own_states.txt")):
        words = (f"input={file}", "report=false", f"output={kind}")
        answer = cellstate("inspect", f"checkpoint={run_of(kind, folder)}", *words)
        assert (answer.status, answer.stderr) == (0, ""), kind
    # The window that the forecaster reads is the end of the file, by the training split's z-score.
    model: Any = package.load(run_of("forecast", folder))
    scaled = (series[-model.spec.window :] - model.spec.mean[0]) / model.spec.std[0]
    assert model.normalisation == "mean"
    expected = (scaled - scaled.mean()).reshape(-1, model.segment)
    read = np.load("forecast/arrays.npz")["inputs"][0]
    with torch.no_grad():
        embedded = model.embedding(torch.from_numpy(expected).float()).numpy()
    np.testing.assert_allclose(read, embedded, atol=1e-4)
    assert np.load("states/arrays.npz")["valid"].sum(1).tolist() == [9, 9]


def facts(text: str) -> dict[str, list[str]]:
    """What the command says of the network as a whole: a name, and the lines of its value."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if match := re.match(r"  (\S.*?)?  +(\S.*)", line):
            name = match[1] or name
            found.setdefault(name, []).append(match[2].strip())
    return found


@pytest.mark.parametrize("steps", [(), *slow((("steps=20",),), (("steps=8",),))])
def test_of_a_line_that_is_said_again_and_again_nothing_is_claimed(cellstate: Command, folder, steps):
    # A readout would be tested on what it was fitted on, and shuffled pieces would be those that were there before.
    Path("again.txt").write_text("He said (12 or 34) it is so.\n" * 30)
    run = run_of("text", folder)  # of two batches: all but untrained
    answer = cellstate("inspect", f"checkpoint={run}", "input=again.txt", *steps, "output=seen")
    assert (answer.status, answer.stderr) == (0, "")
    said = facts(answer.stdout)
    assert "interpretable units" not in said
    left_out, page = " ".join(said["skipped"]), Path("seen/report.html").read_text()
    for what in ("linear readout of the state", "interpretable units"):
        said_why = f"{what}: needs 16 independent sequences to estimate chance"
        assert said_why in left_out
        assert said_why in page
    assert "95 %" not in answer.stdout
    assert not [name for name in np.load("seen/arrays.npz").files if name.startswith(("recall", "characters"))]


def test_characters_that_the_model_never_saw_are_counted_and_named(cellstate: Command, folder):
    Path("odd.txt").write_text("He said ßß so. And ¥ went by.\n" * 4)
    answer = cellstate("inspect", f"checkpoint={run_of('text', folder)}", "input=odd.txt", "output=seen")
    said = " ".join(facts(answer.stdout)["unknown characters"])
    assert said.startswith("12 of 120 characters, 10 %, ")
    assert said.endswith("ß (8), ¥ (4)")
    assert said in Path("seen/report.html").read_text()
    Path("known.txt").write_text("He said so. And went by.\n" * 4)
    answer = cellstate("inspect", f"checkpoint={run_of('text', folder)}", "input=known.txt", "report=false")
    assert "unknown characters" not in answer.stdout


def test_steps_of_a_network_that_reads_patches_are_called_patches(cellstate: Command, folder):
    run = run_of("forecast", folder)
    patch = package.load(run).segment
    assert patch > 1
    answer = cellstate("inspect", f"checkpoint={run}", "walk=true", "sequences=4", "output=seen")
    said = facts(answer.stdout)
    assert said["patch"][0].startswith(f"{patch} steps of the series")
    assert "gradient per patch back" in said
    assert "patch 1  reads" in answer.stdout
    page = Path("seen/report.html").read_text()
    assert f"one column per patch of {patch} steps" in page
    # Times of the network are in patches, delays of the input in steps.
    assert re.search(r"unit \d+ \([\d.]+\s+patches\)", " ".join(said["longest time constants"]))
    assert not re.search(r"\([\d.]+ steps\)", page)
    assert re.search(r"[\d.]+ steps", said["half-memory length"][0])


# ---------------------------------------------------------------------- the walk


def test_the_network_of_three_units_answers_rightly_on_all_sequences_and_is_what_it_says():
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 10).unsqueeze(-1)
    model: Any = three_units()
    with torch.no_grad():
        probabilities = model(bits).softmax(-1)
        states = open_states(model.backbone, bits).layers[0]
    right = probabilities[torch.arange(1024), bits[:, 0, 0].long()]
    assert right.min() > 0.99
    assert states.c is not None
    latch, begun, newest = states.c.unbind(-1)
    assert (latch[:, -1].sign() == 2 * bits[:, 0, 0] - 1).all()
    torch.testing.assert_close(begun, torch.arange(1.0, 11).expand(1024, 10), rtol=0, atol=0.05)
    assert (newest.sign() == 2 * bits[..., 0] - 1).all()


def walked(text: str) -> list[tuple[str, list[list[str]]]]:
    """Each step's line and the rows of numbers of its units."""
    steps: list[tuple[str, list[list[str]]]] = []
    for line in text.splitlines():
        if line.startswith("step "):
            steps.append((line, []))
        elif steps and re.match(r"  \d+ ", line):
            numbers = re.findall(r"[−]?\d+\.\d{3}", line)
            steps[-1][1].append([line.split()[0], *numbers])
    return steps


def test_the_walk_through_three_units_shows_the_numbers_of_the_equations(cellstate: Command):
    answer = cellstate("inspect", "walk=true", "output=seen", "seed=3")
    assert answer.status == 0
    steps = walked(answer.stdout)
    assert len(steps) == 10
    model: Any = three_units()
    network = transparent(model.backbone)
    assert isinstance(network, TransparentLSTM)
    state = network.initial_state(1)
    page = Path("seen/report.html").read_text()
    for line, rows in steps:
        bit = float(re.search(r"reads (\d)", line)[1])  # type: ignore[index]
        before = state[1][0, 0].tolist()
        with torch.no_grad():
            _, state = network.step(torch.tensor([[bit]]), state)
        for unit, row in enumerate(rows):
            c_before, c_after, h = row[-3:]
            assert row[0] == str(unit)
            expected = [before[unit], float(state[1][0, 0, unit]), float(state[0][0, 0, unit])]
            assert [c_before, c_after, h] == [signed(value, 3) for value in expected]
            f, i, _, g = (float(value.replace("−", "-")) for value in row[1:5])
            assert f * expected[0] + i * g == pytest.approx(expected[1], abs=2e-3 * (1 + abs(expected[0])))
            assert all(f"<td>{value}</td>" in page for value in row[1:])


@pytest.mark.parametrize("kind", ["text", "one-hot"])
def test_the_walk_through_a_checkpoint_shows_the_numbers_of_its_steps(cellstate: Command, folder, kind):
    run = run_of(kind, folder)
    words = ["sequences=4", "sequence=2", "units=2", "report=false", "output=seen"]
    answer = cellstate("inspect", f"checkpoint={run}", "walk=true", *words)
    steps, arrays = walked(answer.stdout), np.load("seen/arrays.npz")
    assert steps
    assert all(len(rows) == 2 for _, rows in steps)
    backbone: Any = package.load(run).backbone
    network = backbone if isinstance(backbone, TransparentGRU) else transparent(backbone)
    state = network.initial_state(1)
    for number, (_, rows) in enumerate(steps):
        with torch.no_grad():
            _, state = network.step(torch.from_numpy(arrays["inputs"][1:2, number]), state)
        for unit, *numbers in rows:
            assert abs(float(numbers[-1].replace("−", "-")) - float(state[0][0, 0, int(unit)])) <= 5.1e-4


# ---------------------------------------------------------------------- from Python


def test_python_gives_the_arrays_that_the_command_writes(cellstate: Command, folder):
    run = run_of("regression, gru", folder)
    assert cellstate("inspect", f"checkpoint='{run}'", "sequences=4", "report=false", "output=seen").status == 0
    found = package.inspect(run, sequences=4)
    written = np.load("seen/arrays.npz")
    assert set(written.files) == set(found.arrays())
    for name, values in found.arrays().items():
        np.testing.assert_array_equal(written[name], values)
