"""The command line: help, lists, configs, user experiments, sweeps, completion, and what a run leaves behind."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tests.conftest import TINY, Command

import cellstate as package

METRICS_KEYS = {
    *("experiment", "seed", "parameters", "epochs", "steps", "train", "val", "test", "reference", "best", "seconds"),
    "headline",
}


def metrics_of(folder: str | Path) -> dict:
    return json.loads((Path(folder) / "metrics.json").read_text())


def scores(metrics: dict) -> dict:
    """What must come out again: all but the seconds."""
    return {key: value for key, value in metrics.items() if key != "seconds"}


# ---------------------------------------------------------------------- what needs no torch


def test_help_and_lists_and_configs_answer_without_torch(working_folder: Path) -> None:
    script = """
import contextlib, io, sys
from cellstate.cli import dispatch
for words in ([], ["--help"], ["--version"], ["lsit"], ["list"], ["list", "backbone"], ["train", "--help"],
              ["evaluate", "--help"], ["train", "--cfg", "job"], ["train", "--cfg", "job", "experiment=char_lm"],
              ["train", "bakbone=gru"]):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = dispatch(words)
    loaded = [name for name in ("torch", "lightning") if name in sys.modules]
    print(" ".join(words), status, bool(said.getvalue()), loaded)
"""
    child = subprocess.run(
        [sys.executable, "-c", script], cwd=working_folder, capture_output=True, text=True, check=True
    )
    assert child.stdout.splitlines() == [
        " 0 True []",
        "--help 0 True []",
        "--version 0 True []",
        "lsit 2 False []",
        "list 0 True []",
        "list backbone 0 True []",
        "train --help 0 True []",
        "evaluate --help 0 True []",
        "train --cfg job 0 True []",
        "train --cfg job experiment=char_lm 0 True []",
        "train bakbone=gru 2 False []",
    ]
    assert list(working_folder.iterdir()) == []


def test_without_a_command_all_commands_are_shown(cellstate: Command) -> None:
    for words in ([], ["--help"], ["-h"], ["help"]):
        answer = cellstate(*words)
        assert answer.status == 0
        assert all(f"\n  {command} " in answer.stdout for command in ("train", "evaluate", "list"))
    assert cellstate("--version").stdout == f"{package.__version__}\n"


def test_an_unknown_command_is_answered_with_the_nearest(cellstate: Command) -> None:
    answer = cellstate("trian")
    assert (answer.status, answer.errors) == (
        2,
        ["cellstate: error: trian: unknown command; did you mean 'train'?"],
    )


def test_list_shows_all_groups_or_those_asked_for(cellstate: Command) -> None:
    assert cellstate("list").stdout.split("\n", 1)[0] == "experiment="
    one = cellstate("list", "backbone")
    assert one.stdout.startswith("backbone=\n")
    assert "experiment=" not in one.stdout
    assert {"gru", "lstm", "rnn"} <= {line.split()[0] for line in one.stdout.splitlines()[1:] if line}
    wrong = cellstate("list", "backbon")
    assert (wrong.status, len(wrong.errors)) == (2, 1)
    assert "did you mean 'backbone'?" in wrong.stderr
    assert cellstate("list", "--wrong").status == 2
    assert cellstate("list", "--help").status == 0


def test_help_of_a_command_says_how_it_is_used(cellstate: Command) -> None:
    assert "usage: cellstate train " in cellstate("train", "--help").stdout
    assert "usage: cellstate evaluate checkpoint=FILE" in cellstate("evaluate", "--help").stdout


def test_cfg_job_prints_the_config_of_the_experiment(cellstate: Command) -> None:
    config = OmegaConf.create(cellstate("train", "--cfg", "job", "experiment=char_lm", "seed=7").stdout)
    assert config.data._target_ == "cellstate.data.TextData"
    assert config.seed == 7


# ---------------------------------------------------------------------- completion


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cellstate tr", ["train"]),
        ("cellstate ", ["train", "evaluate", "list"]),
        ("cellstate train backbone=l", ["backbone=lstm", "backbone=lstm_transparent"]),
        ("cellstate train experiment=pattern_", ["experiment=pattern_bilstm", "experiment=pattern_stacked"]),
        ("cellstate train backbone.hid", ["backbone.hidden_size="]),
        ("cellstate evaluate chec", ["checkpoint="]),
        ("cellstate train data.path=fi", ["data.path=files/"]),
        ("cellstate train data.path=files/l", ["data.path=files/load.csv"]),
        ("cellstate evaluate checkpoint=files/", ["checkpoint=files/b.ckpt", "checkpoint=files/load.csv"]),
        ("cellstate evaluate checkpoint=nowhere/", []),
        ("cellstate inspect checkpoint=files/b", ["checkpoint=files/b.ckpt"]),
        ("cellstate predict output=files/l", ["output=files/load.csv"]),
        ("cellstate generate length=fi", []),
    ],
)
def test_the_shell_completes_commands_keys_and_values(
    cellstate: Command, monkeypatch: pytest.MonkeyPatch, line: str, expected: list[str]
) -> None:
    folder = Path("files")
    folder.mkdir()
    for name in ("load.csv", "b.ckpt", ".hidden"):
        (folder / name).touch()
    monkeypatch.setenv("COMP_LINE", line)
    answer = cellstate("-sc", "query=bash")
    assert answer.status == 0
    assert set(expected) <= set(answer.stdout.split())
    if len(line.split()) > 1:
        assert answer.stdout.split() == expected


def test_the_installed_completion_calls_the_program_by_its_own_name(
    cellstate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/cellstate", "-sc", "install=bash"])
    script = cellstate("-sc", "install=bash").stdout
    assert script.rstrip().endswith(" cellstate")
    assert "cellstate train" not in script


def test_completion_that_asks_for_nothing_is_refused(cellstate: Command) -> None:
    answer = cellstate("-sc", "instal=bash")
    assert (answer.status, len(answer.errors)) == (2, 1)


# ---------------------------------------------------------------------- what a run leaves behind


def test_a_run_folder_holds_what_the_design_says(train: Command) -> None:
    answer = train("hydra.run.dir=runs/one", "seed=3", "trainer.max_epochs=2")
    assert answer.status == 0, answer.stderr
    folder = Path("runs/one")
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        *("config.yaml", "manifest.json", "metrics.csv", "metrics.json"),
        *("checkpoints/best.ckpt", "checkpoints/last.ckpt"),
        *(".hydra/hydra.yaml", ".hydra/overrides.yaml"),
    }

    manifest = json.loads((folder / "manifest.json").read_text())
    assert re.fullmatch("[0-9a-f]{8}", manifest["id"])
    assert manifest["status"] == "completed"
    assert manifest["command"][:2] == ["cellstate", "train"]
    assert "hydra.run.dir=runs/one" in manifest["command"]
    assert manifest["started"] <= manifest["finished"]
    assert {"python", "cellstate", "torch", "lightning"} <= manifest["versions"].keys()
    assert manifest["seed"] == 3
    assert manifest["device"] == "cpu"
    assert len(manifest["data"]) == 64
    assert manifest["git"]["commit"] == commit_of_checkout()  # as this folder lies in no repository

    metrics = metrics_of(folder)
    assert metrics.keys() == METRICS_KEYS
    assert metrics["experiment"] == "pattern"
    assert (metrics["seed"], metrics["epochs"], metrics["steps"]) == (3, 2, 2)
    assert metrics["test"].keys() >= {"loss", "accuracy", "f1", "auroc"}
    assert metrics["reference"]["accuracy"].keys() == {"optimum", "majority"}
    assert metrics["best"].keys() == {"epoch", "step", "monitor", "value"}
    assert metrics["seconds"].keys() == {"fit", "test", "total"}

    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert list(rows[0])[:4] == ["epoch", "step", "seconds", "lr"]
    assert min(float(row["val/loss"]) for row in rows) == pytest.approx(metrics["best"]["value"], rel=1e-6)

    config = OmegaConf.load(folder / "config.yaml")
    assert OmegaConf.to_container(config, resolve=False) == OmegaConf.to_container(config, resolve=True)
    assert config.backbone.hidden_size == 8


def test_a_run_goes_to_a_new_folder_below_its_experiment(train: Command) -> None:
    for seed in (0, 1):
        assert train(f"seed={seed}").status == 0
    folders = list(Path("outputs/runs/pattern").iterdir())
    assert len(folders) == 2
    assert all(json.loads((folder / "manifest.json").read_text())["id"] == folder.name[-8:] for folder in folders)


def test_seeds_hold_zero_included_and_a_saved_config_gives_the_same_run(train: Command, cellstate: Command) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert train(f"hydra.run.dir={name}", f"seed={seed}").status == 0
    again = cellstate("train", "--config-dir", "a", "--config-name", "config", "hydra.run.dir=again")
    assert again.status == 0, again.stderr
    first, same, other, from_file = (scores(metrics_of(name)) for name in ("a", "b", "c", "again"))
    assert first == same == from_file
    assert first["test"] != other["test"]
    assert first["train"] != other["train"]


def test_evaluate_gives_the_recorded_numbers_again(train: Command, cellstate: Command) -> None:
    assert train("hydra.run.dir=run").status == 0
    for checkpoint in ("run", "run/checkpoints/best.ckpt", "run/checkpoints/last.ckpt"):
        answer = cellstate("evaluate", f"checkpoint={checkpoint}")
        assert answer.status == 0, answer.stderr
        count = 4 if "last" in checkpoint else 8  # the test split was scored with the best weights only
        assert f"reproduced: {count} of {count} metrics identical" in answer.stdout


# ---------------------------------------------------------------------- users' experiments and sweeps


def test_experiments_of_ones_own_train_and_sweep(cellstate: Command) -> None:
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/small.yaml").write_text(
        "# @package _global_\n# A small network of my own.\ndefaults:\n  - pattern\nbackbone:\n  num_layers: 2\n"
    )
    assert "A small network of my own." in cellstate("list", "experiment", "--config-dir", "mine").stdout
    answer = cellstate("train", "experiment=small", *TINY, "--config-dir", "mine", "seed=0,1", "-m")
    assert answer.status == 0, answer.stderr
    (sweep,) = Path("outputs/sweeps").iterdir()
    assert sweep.name.startswith("mine_small")
    seeds = {}
    for folder in sweep.glob("seed-*"):
        metrics = metrics_of(folder)
        seeds[metrics["seed"]] = metrics["experiment"]
        assert OmegaConf.load(folder / "config.yaml").backbone.num_layers == 2
    assert seeds == {0: "small", 1: "small"}


def test_output_that_cannot_be_written_is_an_error_and_a_closed_pipe_is_none(working_folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    command = [sys.executable, "-m", "cellstate", "list"]
    with Path("/dev/full").open("w") as full:
        child = subprocess.run(command, cwd=working_folder, stdout=full, stderr=subprocess.PIPE, text=True)
    assert child.returncode == 1
    (line,) = child.stderr.splitlines()
    assert line.startswith("cellstate: error: ")
    assert "No space left on device" in line


def commit_of_checkout() -> str:
    """What git says of the checkout that the tests run from."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
