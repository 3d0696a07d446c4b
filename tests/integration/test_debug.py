"""debug=fast, overfit and profile, on top of every experiment; nothing that they make passes for a result."""

import csv
import gzip
import json
import math
import re

import pytest
import torch
from omegaconf import OmegaConf
from tests.conftest import TINY, every_third, series_rows, slow, write_csv

import cellstate as package
from cellstate.callbacks import Checkpoints
from cellstate.config.compose import compose
from cellstate.config.paths import config_folder
from cellstate.data import PatternData
from cellstate.errors import RunError

EXPERIMENTS = sorted(file.stem for file in (config_folder() / "experiment").glob("*.yaml"))
SMALL = {"backbone.hidden_size": 8, "data.train_size": 128, "data.val_size": 64, "data.test_size": 64}
TEXT = "to be or not to be, that is the question: whether 'tis nobler in the mind to suffer\n"


def small(experiment, *words):
    config, _ = compose("train", [f"experiment={experiment}"])
    sizes = [f"{key}={value}" for key, value in SMALL.items() if OmegaConf.select(config, key) is not None]
    return [f"experiment={experiment}", *sizes, *words]


def write_text(folder):
    (folder / "book.txt").write_text(TEXT * 40)
    return ["data.path=book.txt", "data.batch_size=4", "data.steps=16", "data.eval_streams=2"]


def write_series(folder):
    write_csv(folder / "load.csv", series_rows())
    return ["data.path=load.csv", "data.target=load", "data.horizon=4", "data.window=24"]


def write_states(folder):
    days = ["rain sun sun rain sun", "sun sun rain", "rain rain sun sun"]
    (folder / "days.txt").write_text("".join(f"{day}\n" for day in days * 20))
    return ["data.path=days.txt", "data.batch_size=8"]


def write_labelled(folder):
    rows = [
        f"{walk},{'left' if walk % 2 else 'right'},{math.sin(walk + step) + walk % 2}"
        for walk in range(40)
        for step in range(6)
    ]
    write_csv(folder / "walks.csv", rows, "walk,side,x")
    return ["data.path=walks.csv", "data.id=walk", "data.label=side", "data.batch_size=8"]


FILES = {"char_lm": write_text, "series": write_series, "next_state": write_states, "labelled": write_labelled}


def only(folder, pattern):
    (found,) = folder.glob(pattern)
    return found


def read_json(file):
    return json.loads(file.read_text())


def read_csv(file):
    return list(csv.DictReader(file.read_text().splitlines()))


# ---------------------------------------------------------------------- fast


def assert_fast(cellstate, working_folder, experiment, *words):
    answer = cellstate("train", *small(experiment, *words), "debug=fast")
    assert answer.status == 0, answer.stderr
    assert not (working_folder / "outputs" / "runs").exists()
    run = only(working_folder, f"outputs/debug/{experiment}/*")
    manifest, metrics = read_json(run / "manifest.json"), read_json(run / "metrics.json")
    assert (manifest["status"], manifest["debug"]) == ("completed", "fast")
    assert (metrics["steps"], metrics["debug"]) == (1, {"preset": "fast"})
    assert "debug=fast: not a result" in answer.stdout
    assert "these numbers are not results" in (run / "report.html").read_text()
    assert re.search(r"Evaluated from its checkpoint alone: (\d+) of \1 validation metrics identical", answer.stdout)
    ledger = working_folder / "outputs" / "ledger.csv"
    looks = read_csv(ledger) if ledger.exists() else []
    assert [look["command"] for look in looks] == ["train debug=fast"] * bool(metrics["test"])
    assert package.load(run) is not None


@pytest.mark.parametrize("experiment", every_third(EXPERIMENTS, 2))
def test_fast_goes_through_every_part_of_every_experiment(cellstate, working_folder, experiment):
    assert_fast(cellstate, working_folder, experiment)


@pytest.mark.parametrize("experiment", ["next_state", *slow("char_lm", "labelled", "series")])
def test_fast_goes_through_every_part_with_a_file_of_ones_own(cellstate, working_folder, experiment):
    assert_fast(cellstate, working_folder, experiment, *FILES[experiment](working_folder))


def test_a_debugged_checkpoint_says_so_wherever_it_is_scored(cellstate, working_folder):
    cellstate("train", *small("pattern"), "debug=fast", "report=false")
    run = only(working_folder, "outputs/debug/pattern/*")
    answer = cellstate("evaluate", f"checkpoint={run}")
    assert "pattern, seed 0, debug=fast: not a result" in answer.stdout
    looks = read_csv(working_folder / "outputs" / "ledger.csv")
    assert [look["command"] for look in looks] == ["train debug=fast", "evaluate debug=fast"]


def test_debug_goes_over_the_experiment_and_the_command_line_over_both():
    plain, _ = compose("train", ["experiment=series"])
    fast, folder = compose("train", ["experiment=series", "debug=fast"])
    own, elsewhere = compose("train", ["debug=fast", "experiment=series", "trainer.max_epochs=3", "hydra.run.dir=mine"])
    assert (plain.trainer.max_steps, fast.trainer.max_steps) == (1500, -1)
    assert (fast.trainer.max_epochs, own.trainer.max_epochs) == (1, 3)
    assert folder.parts[:3] == ("outputs", "debug", "series")
    assert elsewhere.parts == ("mine",)
    assert "debug" not in plain, "a run as it is has the config that it always had"


def test_a_preset_in_a_sweep_locks_the_test_split_and_has_its_own_folder(cellstate, working_folder):
    answer = cellstate("train", "-m", *small("pattern"), "debug=fast", "report=false", "seed=0,1")
    assert answer.status == 0, answer.stderr
    runs = list(working_folder.glob("outputs/debug/sweeps/*/seed-*"))
    assert len(runs) == 2
    assert [read_json(run / "metrics.json")["test"] for run in runs] == [{}, {}]
    assert not (working_folder / "outputs" / "sweeps").exists()
    assert not (working_folder / "outputs" / "ledger.csv").exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["debug=fsat"], "debug=fsat: unknown debug; did you mean 'fast'?"),
        (["debug=overfit", "debug.stesp=9"], "debug.stesp: unknown key; did you mean 'debug.steps'?"),
        (["debug=overfit", "debug.tolerance=2"], "debug.tolerance=2: should be less than 1"),
        (["debug=overfit", "trainer.accelerator=cpu", "trainer.devices=2"],
         "debug=overfit: requires one process, not 2; set trainer.devices=1"),
        (["debug=profile", "trainer.max_steps=30"], "trainer.max_steps=30: debug=profile needs at least 79 steps"),
        (["-m", "debug=fast,none"], "debug: cannot be swept, as debug runs have another folder; choose one value"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_in_one_line(cellstate, working_folder, words, problem):
    answer = cellstate("train", *small("pattern"), *words)
    assert (answer.status, answer.errors) == (2, [f"cellstate: error: {problem}"])
    assert list(working_folder.iterdir()) == []


# ---------------------------------------------------------------------- overfit


@pytest.mark.parametrize(
    ("experiment", "words", "metric"),
    [
        ("pattern_stacked", [], "loss"),
        ("series", ["model.head=quantile"], "mse_scaled"),
        *slow(
            ("sine", [], "mse_scaled"),
            ("next_state", ["backbone.hidden_size=32"], "loss"),
            ("char_lm", ["file", "backbone.hidden_size=64"], "loss"),
        ),
    ],
)
def test_every_kind_of_model_learns_a_batch_by_heart(cellstate, working_folder, experiment, words, metric):
    words = [
        *(FILES[experiment](working_folder) if "file" in words else []),
        *(word for word in words if word != "file"),
    ]
    answer = cellstate("train", f"experiment={experiment}", *words, "debug=overfit", "debug.rows=8")
    assert answer.status == 0, answer.stderr
    run = only(working_folder, f"outputs/debug/{experiment}/*")
    found = read_json(run / "metrics.json")["debug"]
    assert (found["preset"], found["learnt"], found["metric"]) == ("overfit", True, metric)
    assert found["possible"] - 1e-6 <= found["reached"] < found["first"]
    assert re.search(rf"^learnt: .*->.* in {found['step']:,} steps", answer.stdout, re.MULTILINE)
    assert not (working_folder / "outputs" / "ledger.csv").exists(), "no test split was looked at"
    config = OmegaConf.load(run / "config.yaml")
    regularised = [
        OmegaConf.select(config, key) for key in ("model.dropout", "backbone.dropout", "optimizer.weight_decay")
    ]
    assert regularised == [0, 0, 0]
    assert ("input_noise" in config.model) == (experiment == "series")


def test_what_is_learnt_are_the_very_samples(cellstate, working_folder):
    answer = cellstate("train", "experiment=pattern", "debug=overfit", "debug.rows=24", "data.train_size=256")
    assert answer.status == 0, answer.stderr
    run = only(working_folder, "outputs/debug/pattern/*")
    data = PatternData(train_size=256, seed=0)
    samples = data.prepared.splits["train"]
    batch = samples.batch(data.train_dataloader().order(0)[:24])
    logits = package.load(run)(batch.inputs)
    loss = torch.nn.functional.cross_entropy(logits, batch.targets).item()
    assert loss == pytest.approx(read_json(run / "metrics.json")["debug"]["reached"], rel=1e-4)
    assert loss < 0.01
    assert torch.equal(logits.argmax(-1), batch.targets)


def test_a_network_that_cannot_learn_the_batch_is_told_and_fails_again(cellstate, working_folder):
    words = [*small("pattern"), "debug=overfit", "debug.steps=20", "optimizer.lr=1e-7", "hydra.run.dir=run"]
    answer = cellstate("train", *words)
    assert answer.status == 1
    told = answer.errors[-1]
    assert re.match(
        r"cellstate: error: NOT learnt: loss 0\.6\d+ -> 0\.6\d+ in 20 steps; \d+\.\d % of the learnable", told
    )
    manifest = read_json(working_folder / "run" / "manifest.json")
    assert manifest["status"] == "failed"
    assert "NOT learnt" in manifest["reason"]
    assert read_json(working_folder / "run" / "metrics.json")["debug"]["learnt"] is False
    again = cellstate("train", "run=run")
    assert (again.status, again.errors[-1]) == (1, told)


def test_a_batch_with_nothing_to_learn_is_no_success(cellstate):
    words = [*small("pattern"), "debug=overfit", "debug.rows=1"]
    answer = cellstate("train", *words)
    assert answer.status == 1
    assert "nothing to learn in a batch of 1" in answer.errors[-1]


class Killer:
    """Ends a run at a step, between two of which a checkpoint was written."""

    def __init__(self, monkeypatch, at):
        self.whole = Checkpoints.on_train_batch_end
        monkeypatch.setattr(Checkpoints, "on_train_batch_end", lambda *arguments: self.end(at, *arguments))

    def end(self, at, keeper, trainer, *arguments):
        self.whole(keeper, trainer, *arguments)
        if trainer.global_step == at:
            raise RunError("killed")


def test_overfitting_goes_on_where_it_was_killed(cellstate, working_folder, monkeypatch):
    words = [*TINY, "experiment=pattern", "debug=overfit", "debug.steps=20", "debug.tolerance=0.99",
             "trainer.val_check_interval=10", "checkpoint.every_n_steps=1", "optimizer.lr=1e-5"]  # fmt: skip
    words.remove("trainer.max_epochs=1")
    assert cellstate("train", *words, "hydra.run.dir=whole").status == 1
    with monkeypatch.context() as patch:
        Killer(patch, at=7)
        assert cellstate("train", *words, "hydra.run.dir=killed").status == 1
    cellstate("train", "run=killed")
    whole, killed = (read_json(working_folder / name / "metrics.json")["debug"] for name in ("whole", "killed"))
    assert killed == whole


# ---------------------------------------------------------------------- profile


def test_a_profile_says_where_the_time_goes(cellstate, working_folder):
    answer = cellstate("train", *small("pattern"), "debug=profile", "trainer.max_steps=80", "debug.apart=10")
    assert answer.status == 0, answer.stderr
    run = only(working_folder, "outputs/debug/pattern/*")
    profile = run / "profile"
    assert {file.name for file in profile.iterdir()} == {"tables.txt", "step.csv", "operators.csv", "trace.json.gz"}
    parts = {row["part"]: float(row["ms"]) for row in read_csv(profile / "step.csv")}
    whole = parts.pop("sum")
    assert list(parts) == [
        *("data", "forward and loss", "backward", "gradient clipping", "optimizer", "callbacks", "framework")
    ]
    assert all(value > 0 for value in parts.values())
    assert sum(parts.values()) == pytest.approx(whole, rel=1e-3)
    operators = {row["operator"]: row for row in read_csv(profile / "operators.csv")}
    assert float(operators["aten::_fused_adam_"]["calls_per_step"]) == 1
    assert sum(float(row["self_cpu_share"]) for row in operators.values()) == pytest.approx(1, abs=0.02)
    trace = json.loads(gzip.decompress((profile / "trace.json.gz").read_bytes()))
    names = [event.get("name") for event in trace["traceEvents"]]
    assert names.count("backward") == names.count("aten::_fused_adam_") == 5
    assert (profile / "trace.json.gz").stat().st_size < 1_000_000
    assert "a step takes" in answer.stdout
    assert (profile / "tables.txt").read_text().split()[:3] == ["a", "step", "takes"]
    assert "USDT" not in answer.stderr
    assert read_json(run / "metrics.json")["debug"]["step_ms"] > 0


def test_a_profile_does_not_go_on(cellstate, working_folder, monkeypatch):
    words = [*small("pattern"), "debug=profile", "hydra.run.dir=run", "checkpoint.every_n_steps=1"]
    with monkeypatch.context() as patch:
        Killer(patch, at=7)
        assert cellstate("train", *words).status == 1
    before = read_json(working_folder / "run" / "manifest.json")
    answer = cellstate("train", "run=run")
    problem = "debug=profile: cannot be resumed; start a new run"
    assert (answer.status, answer.errors) == (2, [f"cellstate: error: {problem}"])
    assert read_json(working_folder / "run" / "manifest.json") == before
