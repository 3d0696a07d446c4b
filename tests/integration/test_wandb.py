"""What W&B has of a run, read back from the files that it leaves offline."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests import forkserver
from tests.conftest import TINY, Command
from tests.wandb_files import OfflineRun

import cellstate as package
from cellstate import checkpoint
from cellstate.errors import RunError

KEPT = {"train/loss", "val/loss", "val/accuracy", "val/f1", "val/auroc", "lr", "epoch", "seconds"}


def rows_of(folder: Path) -> list[dict[str, float]]:
    """Return the rows of metrics.csv."""
    with (folder / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def validations(tracked: OfflineRun) -> list[dict[str, Any]]:
    """Return those of W&B's rows that are rows of metrics.csv."""
    return [row for row in tracked.history if "train/loss" in row]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six epochs whose best one is not its last, in a working folder of its own."""
    working = tmp_path_factory.mktemp("working")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(working)
        run = package.train(
            [
                *("experiment=pattern", *TINY, "trainer.max_epochs=6", "data.batch_size=16", "optimizer.lr=0.5"),
                *(
                    "report=true",
                    "logger=wandb",
                    "logger.wandb.tags=[trial]",
                    "callbacks.gradient_norm.every_n_steps=3",
                ),
            ]
        )
    return working / run.folder


@pytest.fixture(scope="module")
def tracked(folder: Path) -> OfflineRun:
    return OfflineRun(folder)


def test_one_id_names_the_run_in_its_folder_its_checkpoints_and_at_wandb(folder: Path, tracked: OfflineRun) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (run,) = tracked.of_kind("run")
    ids = {checkpoint.read(folder / "checkpoints" / f"{name}.ckpt")[checkpoint.KEY]["id"] for name in ("best", "last")}
    assert {run.run_id, manifest["id"], *ids} == {folder.name.rpartition("_")[2]}
    assert run.display_name == f"pattern-{run.run_id}"
    assert (run.project, run.job_type, set(run.tags), run.run_group) == ("cellstate", "train", {"pattern", "trial"}, "")


def test_the_config_is_the_whole_config(folder: Path, tracked: OfflineRun) -> None:
    import yaml

    config = tracked.config
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert {name: config[name] for name in saved} == saved
    assert config["cellstate"]["fingerprint"] == json.loads((folder / "manifest.json").read_text())["data"]


def test_the_history_is_metrics_csv(folder: Path, tracked: OfflineRun) -> None:
    rows = validations(tracked)
    expected = rows_of(folder)
    assert [row.pop("trainer/global_step") for row in rows] == [row.pop("step") for row in expected]
    assert rows == expected
    assert len(rows) == 6


def test_gradient_norms_are_logged_as_often_as_was_asked(tracked: OfflineRun) -> None:
    rows = [row for row in tracked.history if "gradient_norm" in row]
    assert [row["trainer/global_step"] for row in rows] == list(range(1, 25, 3))  # of 24 steps
    for row in rows:
        parts = [row["gradient_norm/backbone"], row["gradient_norm/head"]]
        assert row["gradient_norm"] == pytest.approx(sum(part**2 for part in parts) ** 0.5)


def test_the_summary_says_the_best_and_not_the_last(folder: Path, tracked: OfflineRun) -> None:
    rows, metrics = rows_of(folder), json.loads((folder / "metrics.json").read_text())
    best = min(rows, key=lambda row: row["val/loss"])
    assert best is not rows[-1], "the test needs a run that got worse"
    summary = tracked.summary
    assert {name: summary[name] for name in KEPT} == {name: best[name] for name in KEPT}
    assert summary["best/step"] == metrics["best"]["step"] == best["step"]
    assert {name: summary[f"test/{name}"] for name in metrics["test"]} == metrics["test"]
    assert summary["parameters"] == metrics["parameters"]


def test_the_confusion_matrix_adds_up_to_the_accuracy(folder: Path, tracked: OfflineRun) -> None:
    cells = tracked.table("table/confusion_matrix")
    right = sum(cell["count"] for cell in cells if cell["actual"] == cell["predicted"])
    total = sum(cell["count"] for cell in cells)
    assert total == 32
    assert right / total == json.loads((folder / "metrics.json").read_text())["test"]["accuracy"]
    assert tracked.table("confusion_matrix_table") == cells
    assert any("confusion_matrix" in item.nested_key for record in tracked.of_kind("config") for item in record.update)


def test_the_figures_are_those_of_the_report(folder: Path, tracked: OfflineRun) -> None:
    names = {file.stem for file in (folder / "figures").glob("*.png")}
    assert {"confusion_matrix", "learning_curves"} <= names
    for name in names:
        image = tracked.files[-1].parent / "files" / tracked.summary[f"figure/{name}.path"]
        assert image.read_bytes() == (folder / "figures" / f"{name}.png").read_bytes()


def test_the_checkpoint_is_an_artifact_that_was_made_of_the_data(folder: Path, tracked: OfflineRun) -> None:
    model, data = tracked.artifact("model"), tracked.artifact("dataset")
    (file,) = model.manifest.contents
    content = (folder / "checkpoints" / "best.ckpt").read_bytes()
    # https://docs.wandb.ai: a file in an artifact is known by the MD5 of its content, in base 64
    assert base64.b64decode(file.digest) == hashlib.md5(content, usedforsecurity=False).digest()
    assert file.local_path == str(folder / "checkpoints" / "best.ckpt")  # nothing is copied
    assert "best" in model.aliases
    assert json.loads(model.metadata)["best"]["monitor"] == "val/loss"
    assert data.use_after_commit  # the run used it,
    assert not model.use_after_commit  # and made this
    fingerprint = json.loads((folder / "manifest.json").read_text())["data"]
    assert data.name == f"data-{fingerprint[:12]}"
    staged = json.loads(Path(data.manifest.contents[0].local_path).read_text())
    assert staged["fingerprint"] == fingerprint


def test_the_machine_is_watched_and_the_run_ends_well(tracked: OfflineRun) -> None:
    measured = {item.key for record in tracked.of_kind("stats") for item in record.item}
    assert "proc.memory.rssMB" in measured
    assert tracked.exit_codes == [0]


def test_every_file_lies_in_the_run_folder(folder: Path, tracked: OfflineRun) -> None:
    assert [entry.name for entry in folder.parents[2].parent.iterdir()] == ["outputs"]
    for artifact in tracked.of_kind("artifact"):
        for file in artifact.manifest.contents:
            assert Path(file.local_path).is_relative_to(folder)


def test_a_failed_run_ends_as_failed(working_folder: Path) -> None:
    with pytest.raises(RunError, match="training loss became"):
        package.train(
            ["experiment=sine", "trainer.max_epochs=1", "optimizer.lr=1e30", "trainer.gradient_clip_val=null",
             "backbone.hidden_size=8", "logger=wandb", "hydra.run.dir=failed"]
        )  # fmt: skip
    tracked = OfflineRun(working_folder / "failed")
    assert tracked.exit_codes == [1]
    assert [record for record in tracked.of_kind("artifact") if record.type == "model"] == []


HALTED = """
import signal, sys
from pathlib import Path
from cellstate import cli
from cellstate.model import SequenceModel
last, step = int(sys.argv[1]), SequenceModel.training_step
def halting(self, *arguments):
    if self.trainer.global_step == last:
        Path("halted").touch()
        signal.pause()
    return step(self, *arguments)
halting.__signature__ = step.__signature__
SequenceModel.training_step = halting
cli.main(sys.argv[2:])
"""
WORDS = ("experiment=pattern", *TINY, "data.batch_size=16", "trainer.max_epochs=4", "logger=wandb")


def kill(folder: Path, step: int, rows: int) -> None:
    """Kill a run, and all that it has started, before a step, once so many rows of metrics are written down."""
    command = ["-c", HALTED, str(step), "train", *WORDS, f"hydra.run.dir={folder}"]
    with forkserver.Process(command, cwd=folder.parent, start_new_session=True) as child:
        while not ((folder.parent / "halted").exists() and len(validations(OfflineRun(folder))) >= rows):
            assert child.poll() is None, "the child ended early"
            time.sleep(0.02)
        os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_the_config_is_on_the_disk_before_the_first_step(working_folder: Path) -> None:
    kill(working_folder / "run", step=0, rows=0)
    tracked = OfflineRun(working_folder / "run")
    assert tracked.config["backbone"]["hidden_size"] == 8
    assert tracked.config["trainer"]["max_epochs"] == 4
    assert tracked.exit_codes == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_killed_run_goes_on_under_its_id_with_no_row_missing(working_folder: Path) -> None:
    folder = working_folder / "run"
    kill(folder, step=10, rows=2)  # in the third epoch
    before = OfflineRun(folder)
    assert [row["epoch"] for row in validations(before)] == [0, 1]
    run = package.resume(folder)
    assert run is not None
    tracked = OfflineRun(folder)
    assert len(tracked.files) == 2
    assert {record.run_id for record in tracked.of_kind("run")} == {
        json.loads((folder / "manifest.json").read_text())["id"]
    }
    assert [row["val/loss"] for row in validations(tracked)] == [row["val/loss"] for row in rows_of(folder)]
    steps = [record.step.num for record in tracked.of_kind("history")]
    assert steps == sorted(steps)
    assert tracked.exit_codes == [0]


def test_the_jobs_of_a_sweep_are_a_group(cellstate: Command) -> None:
    assert cellstate("train", "-m", *WORDS, "seed=0,1", "hydra.sweep.dir=outputs/sweeps/trial").status == 0
    first, second = (OfflineRun(folder).of_kind("run")[0] for folder in Path("outputs/sweeps/trial").glob("seed-*"))
    assert first.run_group == second.run_group == "trial"
    assert first.run_id != second.run_id


def test_forecasts_come_with_their_bands(working_folder: Path) -> None:
    package.train(
        ["experiment=series", "trainer.max_steps=10", "trainer.val_check_interval=5", "backbone.hidden_size=8",
         "model.head=quantile", "logger=wandb", "hydra.run.dir=run"]
    )  # fmt: skip
    tracked = OfflineRun(working_folder / "run")
    rows = tracked.table("table/forecasts")
    assert {row["window"] for row in rows} == {"easy", "typical", "hard"}
    for row in rows:
        assert row["lower_90"] <= row["lower_80"] <= row["forecast"] <= row["upper_80"] <= row["upper_90"]
    assert "figure/forecasts.path" in tracked.summary


def test_what_a_language_model_writes_is_a_table(working_folder: Path) -> None:
    (working_folder / "text.txt").write_text("to be or not to be, that is the question. " * 200)
    package.train(
        ["experiment=char_lm", "data.path=text.txt", "trainer.max_steps=4", "backbone.hidden_size=8", "report=false",
         "data.batch_size=4", "data.steps=16", "logger=wandb", "hydra.run.dir=run"]
    )  # fmt: skip
    model: Any = package.load("run")
    rows = OfflineRun(working_folder / "run").table("table/samples")
    assert [row["temperature"] for row in rows] == [0.5, 0.8, 1.0]
    for row in rows:
        assert row["text"] == model.generate(length=300, temperature=row["temperature"])
