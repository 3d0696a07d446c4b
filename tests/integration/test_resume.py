"""A run that was stopped goes on from any step as if it had never been, by the command line and from Python.

Runs that are killed, again and again: test_repeated_kills.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests import forkserver
from tests.conftest import TINY, Command, script, slow

import cellstate as package
from cellstate import checkpoint
from cellstate.callbacks import Checkpoints
from cellstate.data import PatternData
from cellstate.errors import CellstateWarning, RequestError
from cellstate.model import SequenceModel
from cellstate.runs.folder import RunFolder

kills = script("killed_runs")


class KilledError(RuntimeError):
    """Takes the place of a kill, within one process."""


SCHEDULES = {
    "cosine": ["scheduler=warmup_cosine", "model.dropout=0.2"],
    "accumulated": ["trainer.accumulate_grad_batches=2"],
    "stopped early": ["trainer.val_check_interval=0.5", "callbacks.early_stopping.patience=1", "optimizer.lr=0.05"],
    "augmented": ["model=lstm_fcn", "model.channels=[6,6,6]", "scheduler=warmup_cosine"],
    "by results": ["scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.1"],
}


@pytest.mark.parametrize("name", ["cosine", *slow("accumulated", "stopped early", "augmented", "by results")])
def test_it_goes_on_exactly_from_every_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        *(
            "experiment=temporal_order",
            "data.train_size=320",
            "data.length=20",
            "data.val_size=64",
            "data.test_size=64",
        ),
        *("backbone.hidden_size=8", "trainer.max_epochs=3", "checkpoint.every_n_steps=1", "report=false"),
        *SCHEDULES[name],
    ]
    original = Checkpoints.on_train_batch_end
    expected = None
    for last_step in (None, *range(1, 15, 2 if name == "cosine" else 3)):
        folder = tmp_path / str(last_step)
        steps = 0

        def ending(self: Checkpoints, *arguments: Any, last: int | None = last_step) -> None:
            nonlocal steps
            original(self, *arguments)
            steps += 1
            if steps == last:
                raise KilledError

        monkeypatch.setattr(Checkpoints, "on_train_batch_end", ending)
        if last_step is None:
            package.train([*words, f"hydra.run.dir={folder}"])
            expected = kills.contents(folder)
            continue
        with pytest.raises(KilledError):
            package.train([*words, f"hydra.run.dir={folder}"])
        monkeypatch.setattr(Checkpoints, "on_train_batch_end", original)
        package.resume(folder)
        assert kills.differences(expected, folder) == [], f"killed after step {last_step}"


# ---------------------------------------------------------------------- the command line


def stopped(folder: Path, *, by: signal.Signals = signal.SIGTERM) -> str:
    """Start a long run, stop it by a signal once it has a checkpoint, and return what it said."""
    words = ["trainer.max_epochs=100000", "callbacks.early_stopping=null", "data.batch_size=8", "quiet=true"]
    command = ["-m", "cellstate", "train", "experiment=pattern", *TINY[1:], *words, f"hydra.run.dir={folder.name}"]
    with forkserver.Process(command, cwd=folder.parent, stderr=subprocess.PIPE) as child:
        try:
            while not (folder / "checkpoints" / "last.ckpt").exists():
                assert child.poll() is None, "the child ended early"
                time.sleep(0.02)
            child.send_signal(by)
            _, said = child.communicate()
        finally:
            child.kill()
    assert child.returncode == 1
    return said


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_preempted_run_saves_at_once_and_says_how_to_go_on(working_folder: Path) -> None:
    folder = working_folder / "run"
    (line,) = stopped(folder).splitlines()
    assert line.startswith("cellstate: error: interrupted at step ")
    assert line.endswith("resume with: cellstate train run=run")
    step = int(line.split("step ")[1].split()[0])
    assert checkpoint.read(folder / "checkpoints" / "last.ckpt")[checkpoint.KEY]["step"] == step
    assert json.loads((folder / "manifest.json").read_text())["status"] == "interrupted"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_within_a_validation_keeps_the_epoch_before_it(
    number: signal.Signals, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = SequenceModel.validation_step, 0

    def told_to_stop(self: SequenceModel, batch: Any, batch_idx: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # the second epoch's: one batch validates
            os.kill(os.getpid(), number)
        original(self, batch, batch_idx)

    monkeypatch.setattr(SequenceModel, "validation_step", told_to_stop)
    words = [*TINY[1:], "trainer.max_epochs=4", "data.batch_size=32", "hydra.run.dir=run"]
    with pytest.raises(KeyboardInterrupt, match=r"interrupted at step 4 .*resume with: cellstate train run=run"):
        package.train(["experiment=pattern", *words])
    last = checkpoint.read(working_folder / "run" / "checkpoints" / "last.ckpt")[checkpoint.KEY]
    assert last["step"] == 4
    assert last["metrics"]["val"]
    assert json.loads(Path("run/manifest.json").read_text())["status"] == "interrupted"


@pytest.fixture
def halted(working_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that ended after its fourth step; it was saved there, and after its second one."""

    def ending(self: Checkpoints, trainer: Any, *_: Any) -> None:
        if trainer.global_step in (2, 4):
            self._save_last(trainer)
        if trainer.global_step == 4:
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "on_train_batch_end", ending)
        with pytest.raises(KilledError):
            package.train(["experiment=pattern", *TINY, "data.batch_size=8", "hydra.run.dir=run"])
    return working_folder / "run"


def test_run_goes_on_and_a_second_time_says_that_it_is_complete(halted: Path, cellstate: Command) -> None:
    answer = cellstate("train", "run=run")
    assert answer.status == 0, answer.stderr
    assert json.loads((halted / "metrics.json").read_text())["steps"] == 8
    again = cellstate("train", "run=run")
    assert again.status == 0
    assert "run: this run is complete" in again.stdout
    assert not Path("outputs/runs").exists()


def test_auto_goes_on_where_there_is_something_and_begins_where_there_is_not(halted: Path, cellstate: Command) -> None:
    words = ("train", "experiment=pattern", *TINY, "data.batch_size=8", "resume=auto")
    assert cellstate(*words, "seed=1", "hydra.run.dir=other").status == 0
    assert not (halted / "metrics.json").exists()  # it is of another seed
    assert cellstate(*words, "hydra.run.dir=third").status == 0
    assert (halted / "metrics.json").exists()
    assert not Path("third").exists()
    assert cellstate(*words, "hydra.run.dir=third").status == 0
    assert (Path("third") / "metrics.json").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("run=nowhere",), "run=nowhere: no such folder; give a folder created by cellstate train"),
        (("run=.",), "run=.: not a run folder (it has no manifest.json)"),
        (("run=run", "seed=3"), "seed=3: a run is resumed with its original config; give only run=FOLDER"),
        (("resume=always",), "resume=always: should be auto or null"),
        (("checkpoint.every_n_steps=0",), "checkpoint.every_n_steps=0: should be greater than 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_go_on_is_refused_in_one_line(
    halted: Path, cellstate: Command, words: tuple[str, ...], line: str
) -> None:
    answer = cellstate("train", *words)
    assert answer.status == 2
    (said,) = answer.errors
    assert line in said
    assert not (halted / "metrics.json").exists()


def test_two_processes_cannot_work_on_one_run(halted: Path) -> None:
    fingerprint = json.loads((halted / "manifest.json").read_text())["data"]
    with RunFolder.reclaim(halted, data=fingerprint).recording(), pytest.raises(RequestError, match="another process"):
        package.resume(halted)
    claimed = json.loads((halted / "manifest.json").read_text())
    (halted / "manifest.json").write_text(json.dumps({**claimed, "status": "running"}))
    assert package.resume(halted) is not None


def test_a_run_does_not_go_on_with_other_data(halted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatternData, "fingerprint", "0" * 64)
    with pytest.raises(RequestError, match=r"its data was .* and is 0000"):
        package.resume(halted)
    assert json.loads((halted / "manifest.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_where_the_newest_checkpoint_is_damaged_it_goes_on_from_the_one_before(damage: str, halted: Path) -> None:
    last, previous = (halted / "checkpoints" / f"{name}.ckpt" for name in ("last", "previous"))
    content = last.read_bytes()
    assert checkpoint.read(previous)[checkpoint.KEY]["step"] < checkpoint.read(last)[checkpoint.KEY]["step"]
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    last.write_bytes({"cut": content[:middle], "flipped": flipped, "empty": b""}[damage])
    with pytest.warns(CellstateWarning, match=re.escape(f"{last} is damaged; resuming from {previous}")):
        run = package.resume(halted)
    assert run is not None
    whole = package.train(["experiment=pattern", *TINY, "data.batch_size=8", "hydra.run.dir=whole"])
    assert kills.differences(kills.contents(whole.folder), halted) == []
    assert sorted(path.name for path in (halted / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_without_a_whole_checkpoint_it_begins_anew_and_ends_the_same(halted: Path) -> None:
    shutil.rmtree(halted / "checkpoints")
    (halted / "checkpoints").mkdir()
    package.resume(halted)
    whole = package.train(["experiment=pattern", *TINY, "data.batch_size=8", "hydra.run.dir=whole"])
    assert kills.differences(kills.contents(whole.folder), halted) == []
