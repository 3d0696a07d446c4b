"""``cellstate compare``: the same data and seeds, one size, and no winner where there is none."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tests.conftest import TINY, Command, every_third

import cellstate as package
from cellstate.cli import dispatch
from cellstate.data.synthetic.first_parity import parity_sequences
from cellstate.model import parameters_of
from cellstate.sweep.compare.statistics import compare

WORDS = [word for word in TINY if word not in ("quiet=true",)]
PLACE = Path("outputs/comparisons")


def content(name: str = "mine") -> dict[str, Any]:
    return json.loads((PLACE / name / "comparison.json").read_text())


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def comparing(cellstate: Command, working_folder: Path) -> Command:
    """Run a comparison in the folder ``mine``."""
    del working_folder
    return lambda *words: cellstate("compare", *WORDS, "sweep.name=mine", *words)


THREE = ("backbone=rnn,lstm,gru", "comparison.parameters=1500")  # over two seeds


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where three variants were compared over two seeds, for tests that go on in a copy; and what was printed."""
    working = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.chdir(working)
        assert dispatch(["compare", *WORDS, "sweep.name=mine", *THREE, "comparison.seeds=2"]) == 0
    return working, said.getvalue()


@pytest.fixture
def three(compared: tuple[Path, str], working_folder: Path) -> str:
    """What the comparison printed, in a working folder that holds a copy of all that it wrote."""
    shutil.copytree(compared[0], working_folder, dirs_exist_ok=True)
    return compared[1]


def test_variants_have_the_same_data_seeds_and_size(three: str) -> None:
    (condition,) = content()["conditions"]
    assert [variant["name"] for variant in condition["variants"]] == ["rnn", "lstm", "gru"]
    counts, fingerprints, orders = [], [], []
    for variant in condition["variants"]:
        assert list(variant["scores"]) == ["seed=0", "seed=1"]
        folders = [PLACE / "mine" / folder for folder in variant["folders"].values()]
        models = [package.load(folder) for folder in folders]
        assert {parameters_of(model) for model in models} == {variant["parameters"]}
        assert variant["state"] == models[0].backbone.state_size
        counts.append(variant["parameters"])
        fingerprints.append([json.loads((folder / "manifest.json").read_text())["data"] for folder in folders])
        scores = [json.loads((folder / "metrics.json").read_text())["val"]["accuracy"] for folder in folders]
        assert list(variant["scores"].values()) == scores
        orders.append([torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["loops"] for folder in folders])
    assert max(counts) - min(counts) <= 0.01 * counts[0]
    assert fingerprints[0] == fingerprints[1] == fingerprints[2]
    assert len(set(fingerprints[0])) == 2, "each seed draws its own data"
    assert condition["reference"]["majority"] == pytest.approx(0.5, abs=0.01)
    for line in ("optimum", "majority", "hidden_size", "parameters"):
        assert line in three


@pytest.mark.usefixtures("three")
def test_differences_are_those_of_the_scores() -> None:
    (condition,) = content()["conditions"]
    scores = {variant["name"]: variant["scores"] for variant in condition["variants"]}
    expected = compare(scores)
    assert [(row["one"], row["other"]) for row in condition["differences"]] == list(expected)
    for row, found in zip(condition["differences"], expected.values(), strict=True):
        pairs = [scores[row["one"]][seed] - scores[row["other"]][seed] for seed in scores["rnn"]]
        assert row["mean"] == pytest.approx(np.mean(pairs))
        assert (row["low"], row["high"], row["p"], row["shown"]) == (found.low, found.high, found.p, found.shown)
    rows = table(PLACE / "mine" / "comparison.csv")
    assert [row["variant"] for row in rows] == ["rnn", "lstm", "gru"]
    assert float(rows[1]["mean"]) == pytest.approx(np.mean(list(scores["lstm"].values())))


@pytest.mark.slow
def test_what_cannot_learn_is_told_from_what_can(comparing: Command) -> None:
    words = ("optimizer.lr=1e-9,0.02", "trainer.max_epochs=10", "data.train_size=512", "data.length=6")
    assert comparing(*words, "backbone.hidden_size=16", "comparison.match=null").status == 0
    (condition,) = content()["conditions"]
    assert condition["verdict"] == ["optimizer.lr=0.02 is better than optimizer.lr=1e-09"]


@pytest.mark.slow
def test_keys_of_the_data_are_conditions(comparing: Command) -> None:
    assert comparing("backbone=rnn,gru", "data.length=8,12", "seed=0").status == 0
    found = content()["conditions"]
    assert [condition["overrides"] for condition in found] == [{"data.length": 8}, {"data.length": 12}]
    assert all(len(condition["variants"]) == 2 for condition in found)


@pytest.mark.usefixtures("three")
def test_a_comparison_goes_on_and_adds_seeds(comparing: Command) -> None:
    written = {path: path.stat().st_mtime_ns for path in (PLACE / "mine").glob("*/metrics.json")}
    assert len(written) == 6
    before = content()
    assert comparing(*THREE, "comparison.seeds=3").status == 0
    now = content()
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(list((PLACE / "mine").glob("*/metrics.json"))) == 9
    for old, new in zip(before["conditions"][0]["variants"], now["conditions"][0]["variants"], strict=True):
        assert old["scores"].items() < new["scores"].items()


def test_each_variant_is_given_the_best_of_its_own_search(comparing: Command) -> None:
    tune = "comparison.tune={optimizer.lr:[1e-9,0.01]}"
    answer = comparing("backbone=rnn,gru", "comparison.seeds=1", "comparison.tune_seeds=1", tune)
    assert answer.status == 0, answer.stderr
    (condition,) = content()["conditions"]
    assert [variant["given"]["optimizer.lr"] for variant in condition["variants"]] == [0.01, 0.01]
    jobs = json.loads((PLACE / "mine" / "sweep.json").read_text())["jobs"]
    tried = [job for job in jobs if job["repeat"]["seed"] >= 1_000_000]
    assert len(tried) == 2 * 2
    assert len(jobs) - len(tried) == 2, "no seed of the search is compared"


def test_time_is_matched_by_epochs(comparing: Command) -> None:
    words = ("backbone=rnn,lstm", "comparison.seeds=1", "comparison.match=time", "trainer.max_epochs=4")
    assert comparing(*words, "callbacks.early_stopping=null").status == 0
    (condition,) = content()["conditions"]
    jobs = {job["folder"]: job for job in json.loads((PLACE / "mine" / "sweep.json").read_text())["jobs"]}
    first, other = condition["variants"]
    pilots = {
        job["overrides"]["backbone"]: job["seconds"]["fit"] / job["epochs"]
        for job in jobs.values()
        if job["repeat"]["seed"] == 0 and job["overrides"]["trainer.max_epochs"] == 4
    }
    assert other["given"]["trainer.max_epochs"] == max(1, round(4 * pilots["rnn"] / pilots["lstm"]))
    assert first["parameters"] < other["parameters"]


def test_the_test_split_is_scored_once_when_all_is_done(comparing: Command) -> None:
    words = ("backbone=rnn,gru", "comparison.seeds=1", "ledger=book.csv")
    assert comparing(*words).status == 0
    assert not Path("book.csv").exists()
    assert content()["split"] == "val"
    for _ in range(2):
        assert comparing(*words, "comparison.test=true").status == 0
    rows = table(Path("book.csv"))
    assert len(rows) == 2
    (condition,) = content()["conditions"]
    said = sorted(score for variant in condition["variants"] for score in variant["scores"].values())
    assert said == sorted(float(row["value"]) for row in rows)


@pytest.mark.parametrize(
    ("words", "line"),
    every_third(
        [
            ((), "nothing to compare: give a key several values, such as backbone=rnn,lstm,gru"),
            (("data.length=8,12",), "nothing to compare: give a key several values"),
            (("backbone=rnn,lsm",), "backbone=lsm"),
            (("backbone=rnn,gru", "test=true"), "test=true: the test split is locked in a multirun"),
            (
                ("backbone=rnn,gru", "comparison.match=size"),
                "comparison.match=size: should be parameters, time, or null",
            ),
            (("backbone=rnn,gru", "comparison.seeds=0"), "comparison.seeds=0: should be greater than 0"),
            (
                ("backbone=rnn,gru", "+comparison.seed=3"),
                "comparison.seed: unknown key; did you mean 'comparison.seeds'?",
            ),
            (("backbone=rnn,gru", "comparison.units=trainer.max_epochs"), "comparison.units=trainer.max_epochs: "),
            (
                ("backbone=rnn,gru", "comparison.units=model.pooling"),
                "comparison.units=model.pooling: is not an integer",
            ),
            (("backbone=rnn,gru", "comparison.tune={optimizer.lr:[1]}"), "comparison.tune: optimizer.lr needs several"),
            (
                ("backbone=rnn,gru", "comparison.generalise={data.lenght:[8,9]}"),
                "unknown key data.lenght; did you mean",
            ),
            (
                ("backbone=rnn,gru", "comparison.generalise={data.length:[8,2]}"),
                "comparison.generalise: data.length=2 is",
            ),
            (
                ("backbone=rnn,gru", "comparison.generalise={data.length:[8]}"),
                "one data key with several numbers",
            ),
            (("backbone=rnn,gru", "comparison.metric=acuracy"), "did you mean 'accuracy'?"),
            (("backbone=rnn,gru", "hydra/sweeper=grid"), "hydra/sweeper: is fixed for comparisons; remove it"),
            (("backbone=rnn,gru", "comparison=memry"), "comparison=memry"),
            (("backbone=rnn,gru", "comparison=memory,text"), "comparison: cannot be swept"),
        ],
        0,
    ),
)
def test_what_cannot_be_compared_is_refused_in_one_line(comparing: Command, words: tuple[str, ...], line: str) -> None:
    answer = comparing(*words, "seed=0,1")
    assert answer.status == 2, answer.stderr
    (said,) = [one for one in answer.errors if one.startswith("cellstate: error")]
    assert line in said


def test_networks_are_asked_for_the_same_over_other_lengths(comparing: Command) -> None:
    """Trained at length 6, they answer for 4 and 9 as they are; at 6 they score what they scored in training."""
    words = ("experiment=first_parity", "backbone=rnn,gru", "seed=0,1", "data.length=6", "optimizer.lr=0.02")
    words += ("trainer.max_epochs=2", "data.train_size=256", "data.val_size=96")
    assert comparing(*words, "comparison.generalise={data.length:[9,4,6]}").status == 0
    (condition,) = content()["conditions"]
    points = {point["overrides"]["data.length"]: point for point in condition["generalisation"]}
    assert list(points) == [4, 6, 9]
    assert condition["trained"] == 6
    for place, variant in enumerate(condition["variants"]):
        assert points[6]["variants"][place]["scores"] == variant["scores"]
        for length, point in points.items():
            assert point["reference"]["optimum"] == 1.0
            for repeat, score in point["variants"][place]["scores"].items():
                seed = int(repeat.partition("=")[2] or 0)  # the only one has no name
                digits, labels = parity_sequences(range(96), seed=seed, split="val", length=length)
                answer = package.load(PLACE / "mine" / variant["folders"][repeat]).predict(
                    torch.tensor((digits - 4.5) / 8.25**0.5, dtype=torch.float32)[..., None]
                )
                assert score == pytest.approx(np.mean(np.asarray(answer["classes"]) == labels))
    began = (PLACE / "mine/generalised.json").stat().st_mtime_ns
    assert comparing(*words, "comparison.generalise={data.length:[9,4,6]}").status == 0
    assert (PLACE / "mine/generalised.json").stat().st_mtime_ns == began, "nothing is scored twice"


def test_a_ready_made_comparison_takes_a_text_of_the_user_s_own(cellstate: Command, working_folder: Path) -> None:
    (working_folder / "book.txt").write_text("A cell keeps what its gates let it keep. " * 60)
    words = ("data.path=book.txt", "backbone=rnn,gru", "comparison.tune=null", "backbone.hidden_size=6", "seed=0")
    answer = cellstate("compare", "comparison=text", *words, "trainer.max_epochs=1", "sweep.name=own", "quiet=true")
    assert answer.status == 0, answer.stderr
    for folder in (PLACE / "own").glob("*_*/config.yaml"):
        assert OmegaConf.load(folder).data.path == str(working_folder.resolve() / "book.txt")
    (condition,) = content("own")["conditions"]
    assert [len(variant["scores"]) for variant in condition["variants"]] == [1, 1]


@pytest.mark.slow
def test_what_a_ready_made_comparison_sets_holds_in_every_run(cellstate: Command, working_folder: Path) -> None:
    """It goes over the experiment, as its file says; the command line goes over it."""
    (working_folder / "mine/comparison").mkdir(parents=True)
    (working_folder / "mine/comparison/brief.yaml").write_text(
        "# @package _global_\ndefaults:\n  - /comparison/default@comparison\n"
        "comparison:\n  sweep: {data.length: '5,6', backbone: 'rnn,gru'}\n  match: null\n"
        "data: {train_size: 64, val_size: 48, fresh: false}\n"
        "backbone: {hidden_size: 5, chrono_steps: '${data.length}'}\n"
        "optimizer: {lr: 0.3}\ntrainer: {max_epochs: 2}\n"
    )
    words = ("--config-dir", "mine", "comparison=brief", "experiment=first_parity", "sweep.name=brief")
    answer = cellstate("compare", *words, "seed=0", "optimizer.lr=0.02", "quiet=true")
    assert answer.status == 0, answer.stderr
    variants = [variant for condition in content("brief")["conditions"] for variant in condition["variants"]]
    runs = [folder for variant in variants for folder in variant["folders"].values()]
    assert len(runs) == 4
    for name, length in zip(runs, (5, 5, 6, 6), strict=True):
        folder = PLACE / "brief" / name
        config: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        assert (config["data"]["train_size"], config["data"]["length"], config["trainer"]["max_epochs"]) == (
            64,
            length,
            2,
        )
        assert (config["backbone"]["hidden_size"], config["backbone"]["chrono_steps"]) == (5, length)
        assert config["optimizer"]["lr"] == 0.02
        assert "comparison" not in config
        assert package.load(folder).backbone.output_size == 5
        assert len(table(folder / "metrics.csv")) == 2


@pytest.mark.slow
def test_real_runs_of_one_thing_name_no_winner(working_folder: Path) -> None:
    """Of 24 runs that differ in their seed alone, groups of five are compared 200 times: at most 5 % name a winner."""
    losses = []
    for seed in range(24):
        run = package.train(
            ["experiment=pattern", *TINY, f"seed={seed}", f"hydra.run.dir={working_folder / str(seed)}"]
        )
        losses.append(run.metrics["val"]["loss"])
    assert len(set(losses)) == 24
    rng, winners = np.random.default_rng(0), 0
    for _ in range(200):
        drawn = rng.permutation(losses)[:10].tolist()
        one, other = ({f"seed={at}": loss for at, loss in enumerate(part)} for part in (drawn[:5], drawn[5:]))
        winners += compare({"one": one, "other": other})["one", "other"].shown
    assert winners <= 10
