"""What was reached is kept: through divergence, a full disk and Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import forkserver
from tests.conftest import TINY, Command

import cellstate as package

CHILD = ["-m", "cellstate", "train", "experiment=pattern", *TINY]


def manifest_of(folder: str | Path) -> dict:
    return json.loads((Path(folder) / "manifest.json").read_text())


def weights_are_finite(checkpoint: Path) -> bool:
    weights = package.load(checkpoint, trust="tests").state_dict()  # "explode" is no schedule of cellstate's
    return all(bool(torch.isfinite(weight).all()) for weight in weights.values())


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_weights(train: Command) -> None:
    # The rate is tiny while the first two epochs last, and astronomic from then on.
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/diverging.yaml").write_text(
        "# @package _global_\ndefaults:\n  - pattern\n"
        "scheduler:\n  _target_: tests.integration.test_interruption.explode\n  step: 8\n"
    )
    answer = train(
        *("experiment=diverging", "--config-dir", "mine", "hydra.run.dir=run"),
        *("data.batch_size=16", "trainer.max_epochs=5", "optimizer.lr=1e-3", "trainer.gradient_clip_val=null"),
    )
    assert answer.status == 1
    (line,) = [line for line in answer.errors if line.startswith("cellstate: error")]
    step = re.search(r"loss became (nan|inf) (?:at|after) step (\d+) \(epoch (\d+)\)", line)
    assert step is not None, line
    assert 9 <= int(step[2]) <= 12  # the third epoch, whose first step was the first with that rate
    manifest = manifest_of("run")
    assert manifest["status"] == "failed"
    assert "loss became" in manifest["reason"]
    for name in ("best", "last"):
        file = Path(f"run/checkpoints/{name}.ckpt")
        assert weights_are_finite(file)
        assert package.evaluate(file, trust="tests").differing == []
    assert not Path("run/metrics.json").exists()


def explode(optimizer: torch.optim.Optimizer, total_steps: int, *, step: int = 8) -> dict:
    """Multiply the rate by 1e42 from ``step`` on."""
    del total_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda count: 1e42 if count >= step else 1.0)
    return {"scheduler": schedule, "interval": "step"}


def test_divergence_from_the_first_step_leaves_no_checkpoint_and_says_why(train: Command) -> None:
    answer = train("hydra.run.dir=run", "optimizer.lr=1e39", "data.batch_size=16", "trainer.max_epochs=2")
    assert answer.status == 1
    assert len([line for line in answer.errors if "cellstate: error" in line]) == 1
    assert manifest_of("run")["status"] == "failed"
    assert list(Path("run/checkpoints").iterdir()) == []


def test_a_full_disk_fails_the_run_and_leaves_the_checkpoints_before_whole(working_folder: Path) -> None:
    # From the fourth write on no file may grow past 16 KB, which a checkpoint does: what a full disk answers too.
    script = """
import resource, sys
from cellstate import checkpoint
from cellstate.checkpoint import file
from cellstate.cli import main
write, count = file.write, 0
def counted(content, path):
    global count
    count += 1
    if count == 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, resource.RLIM_INFINITY))
    write(content, path)
file.write = counted
main(sys.argv[1:])
"""
    words = ["train", *CHILD[3:], "backbone.hidden_size=64", "trainer.max_epochs=9", "hydra.run.dir=run", "quiet=true"]
    child = forkserver.run(["-c", script, *words], cwd=working_folder)
    assert child.returncode == 1
    (line,) = child.stderr.splitlines()
    assert line.startswith("cellstate: error: run/checkpoints/")
    assert "cannot be written (File too large); the previous checkpoint is intact; free some space" in line
    folder = working_folder / "run"
    manifest = manifest_of(folder)
    assert manifest["status"] == "failed"
    assert "File too large" in manifest["reason"]
    assert list(folder.rglob("*.tmp")) == []
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    for name in names:
        assert package.evaluate(folder / "checkpoints" / name).differing == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_leaves_a_usable_checkpoint_and_says_so(working_folder: Path, cellstate: Command) -> None:
    words = [
        "trainer.max_epochs=1000000",
        "callbacks.early_stopping=null",
        "hydra.run.dir=run",
        "data.batch_size=8",
        "quiet=true",
    ]
    with forkserver.Process([*CHILD, *words], cwd=working_folder, stderr=subprocess.PIPE) as child:
        try:
            wait_for(working_folder / "run" / "checkpoints" / "last.ckpt", child)
            child.send_signal(signal.SIGINT)
            _, stderr = child.communicate()
        finally:
            child.kill()
    assert child.returncode == 1
    (line,) = stderr.splitlines()
    assert re.match(
        r"cellstate: error: interrupted at step \d+ \(epoch \d+\); saved in run/checkpoints/last.ckpt;", line
    )
    assert manifest_of("run")["status"] == "interrupted"
    assert list(Path("run").rglob("*.tmp")) == []

    last = Path("run/checkpoints/last.ckpt")
    model: Any = package.load(last)
    assert model.predict([0, 1] * 10)["probabilities"].shape == (2,)
    answer = cellstate("evaluate", f"checkpoint={last}")
    assert answer.status == 0, answer.stderr
    assert "this run, test" in answer.stdout


def wait_for(file: Path, child: forkserver.Process) -> None:
    """Wait until a child has written a file, or has ended."""
    while not file.exists():
        assert child.poll() is None, "the child ended early"
        time.sleep(0.02)


def test_an_interruption_before_the_run_began_leaves_no_folder(train: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cellstate.training.run.build_data", interrupted)
    answer = train()
    assert (answer.status, answer.errors) == (1, ["cellstate: error: interrupted"])
    assert not Path("outputs").exists()
