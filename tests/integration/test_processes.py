"""Several processes: the training is that of one, the scores are those of one, and none is ever left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from tests import forkserver
from tests.conftest import Command, slow

import cellstate as package
from cellstate.errors import RequestError, RunError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups are POSIX")

FIFTY = ("trainer.max_steps=50", "trainer.val_check_interval=5", "trainer.check_val_every_n_epoch=null", "report=false")
# Batches that two processes cannot share evenly, lengths of their own, targets that do not count, a carried state.
TASKS = {
    "pattern": ("data.train_size=1001", "data.batch_size=33", "data.val_size=41", "data.test_size=41"),
    "embedded_reber": ("data.train_size=301", "data.batch_size=33", "data.val_size=41", "data.test_size=41"),
    "adding": ("data.train_size=1001", "data.batch_size=33", "data.val_size=41", "data.test_size=41", "data.length=20"),
    "char_lm": ("model.dropout=0", "data.steps=16", "trainer.limit_val_batches=2", "backbone.hidden_size=16"),
}


def weights(run: package.Run) -> dict[str, torch.Tensor]:
    return torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize(
    ("task", "precision", "within"),
    [
        *slow(*((task, "64-true", 1e-10) for task in TASKS)),
        *slow(*((task, "32-true", 1e-5) for task in TASKS)),
    ],
)
def test_two_processes_follow_one_for_fifty_steps(task: str, precision: str, within: float, tmp_path: Path) -> None:
    words = [f"experiment={task}", *FIFTY, *TASKS[task], f"trainer.precision={precision}"]
    alone, shared = (
        package.train([*words, f"trainer={trainer}", f"hydra.run.dir={tmp_path / trainer}"])
        for trainer in ("cpu", "ddp_cpu")
    )
    assert json.loads((shared.folder / "manifest.json").read_text())["processes"] == 2
    assert len(alone.history) == len(shared.history) == 10
    for one, other in zip(alone.history, shared.history, strict=True):
        assert other["train/loss"] == pytest.approx(one["train/loss"], abs=within)
        assert other["val/loss"] == pytest.approx(one["val/loss"], abs=10 * within)
    before, after = weights(alone), weights(shared)
    assert max(float((before[name] - after[name]).abs().max()) for name in before) < 3 * within


def running(folder: Path, *words: str) -> forkserver.Process:
    """Start a long run on two processes, and return when it has trained an epoch."""
    command = [
        *("-m", "cellstate", "train", "trainer=ddp_cpu", "trainer.max_epochs=5000", "report=false"),
        *("data.train_size=256", "data.val_size=64", "data.test_size=64", "backbone.hidden_size=8", "quiet=true"),
        *("callbacks.early_stopping=null", f"hydra.run.dir={folder}", *words),
    ]
    run = forkserver.Process(command, stderr=subprocess.PIPE)
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.05)
    return run


def workers_of(process: int) -> list[int]:
    """Return the processes that a run in ``process`` started."""
    search = ["pgrep", "-P", str(process), "-f", "cellstate.distributed.worker"]
    found = subprocess.run(search, capture_output=True, text=True, check=False).stdout.split()
    return [int(number) for number in found]


def is_alive(process: int) -> bool:
    """Say whether a process still runs; one that ended and waits to be asked for its status does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(processes: list[int]) -> None:
    while any(map(is_alive, processes)):  # the test's own time limit ends this
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads what /proc says of processes")
@pytest.mark.parametrize("number", [signal.SIGINT, *slow(signal.SIGKILL, signal.SIGTERM)])
def test_the_others_end_with_the_first_however_it_ends(number: signal.Signals, tmp_path: Path) -> None:
    run = running(tmp_path / "run")
    others = workers_of(run.pid)
    assert len(others) == 1
    run.send_signal(number)
    _, said = run.communicate()
    wait_until_gone(others)
    status = json.loads((tmp_path / "run" / "manifest.json").read_text())["status"]
    if number == signal.SIGKILL:
        assert status == "running"
        return
    assert (run.returncode, status) == (1, "interrupted")
    (line,) = said.splitlines()
    assert line.startswith("cellstate: error: interrupted at step ")


def test_a_process_that_is_lost_ends_the_run_with_one_line(tmp_path: Path) -> None:
    run = running(tmp_path / "run")
    (other,) = workers_of(run.pid)
    os.kill(other, signal.SIGKILL)
    _, said = run.communicate()
    (line,) = said.splitlines()
    reason = f"process 1 of 2 ended early: by SIGKILL; resume with: cellstate train run={tmp_path / 'run'}"
    assert (run.returncode, line) == (1, f"cellstate: error: {reason}")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["status"], manifest["reason"]) == ("failed", f"RunError: {reason}")


SMALL = (
    *("trainer=ddp_cpu", "trainer.max_epochs=1", "report=false"),
    *("data.train_size=64", "data.val_size=32", "data.test_size=32"),
)


def surroundings() -> tuple[dict[str, str], int, object]:
    """Return what starting processes could change in this one."""
    words = ("MASTER", "RANK", "WORLD", "THREADS", "TORCHELASTIC")
    variables = {name: value for name, value in os.environ.items() if any(word in name for word in words)}
    return variables, torch.get_num_threads(), signal.getsignal(signal.SIGINT)


def kill_first_worker() -> None:
    while not (workers := workers_of(os.getpid())):
        time.sleep(0.01)
    os.kill(workers[0], signal.SIGKILL)


def test_a_process_lost_at_the_start_is_an_error_that_the_caller_survives(working_folder: Path) -> None:
    before = surroundings()
    killer = threading.Thread(target=kill_first_worker)
    killer.start()
    with pytest.raises(RunError, match=r"^process 1 of 2 ended early: by SIGKILL; ") as caught:
        package.train([*SMALL, "hydra.run.dir=lost"])
    killer.join()
    manifest = json.loads((working_folder / "lost" / "manifest.json").read_text())
    assert (manifest["status"], manifest["reason"]) == ("failed", f"RunError: {caught.value}")
    assert surroundings() == before
    assert not torch.distributed.is_initialized()
    alone = [word for word in SMALL if word != "trainer=ddp_cpu"]
    assert len(package.train([*alone, "hydra.run.dir=next"]).history) == 1


@pytest.mark.slow
def test_processes_import_what_the_caller_imports_and_nothing_of_the_working_folder(tmp_path: Path) -> None:
    for name in ("random", "torch", "json", "cellstate"):
        (tmp_path / f"{name}.py").write_text("import pathlib\npathlib.Path('imported').touch()\nraise SystemExit(3)\n")
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    script = scripts / "train.py"  # has no guard: a process that ran it again would train again
    script.write_text(
        "import cellstate\n"
        f"words = {[*SMALL, 'quiet=true', 'model._target_=own.Classifier']!r}\n"
        "run = cellstate.train(words)\n"
        "print(type(run.model).__module__, len(run.history), sorted(run.metrics['test']))\n"
    )
    (scripts / "own.py").write_text("from cellstate.model import Classifier as Base\n\n\nclass Classifier(Base): ...\n")
    answer = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines() == ["own 1 ['accuracy', 'auroc', 'f1', 'loss']"]
    assert not (tmp_path / "imported").exists()


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_all(tmp_path: Path) -> None:
    words = ("experiment=adding", "trainer=ddp_cpu", "optimizer.lr=1e30", "trainer.gradient_clip_val=null")
    small = ("data.train_size=256", "data.val_size=64", "data.test_size=64", "trainer.max_epochs=2")
    with pytest.raises(RunError, match=r"loss became (inf|nan) (at|after) step"):
        package.train([*words, *small, "report=false", f"hydra.run.dir={tmp_path / 'run'}"])


@pytest.mark.slow
def test_a_run_goes_on_with_as_many_processes_as_it_had(tmp_path: Path) -> None:
    run = running(tmp_path / "run")
    run.send_signal(signal.SIGTERM)
    run.communicate()
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("devices: 2", "devices: 3"))
    with pytest.raises(RequestError, match="the run had 2 processes and would resume with 3"):
        package.resume(tmp_path / "run")


@pytest.mark.slow
def test_torchrun_starts_the_processes_as_well(working_folder: Path) -> None:
    words = ("trainer=ddp_cpu", "trainer.max_epochs=1", "data.train_size=256", "data.val_size=63", "data.test_size=63")
    mine = package.train([*words, "report=false", "hydra.run.dir=mine"])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")}
    subprocess.run(
        [*torchrun, "-m", "cellstate", "train", *words, "report=false", "quiet=true"],
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    (folder,) = working_folder.glob("outputs/runs/pattern/*")  # and none of the second process
    found = json.loads((folder / "metrics.json").read_text())
    assert {**found, "seconds": None} == {**mine.metrics, "seconds": None}


def test_several_machines_need_someone_to_start_their_processes(cellstate: Command) -> None:
    answer = cellstate("train", "trainer=ddp_cpu", "trainer.num_nodes=2", "report=false")
    assert answer.status == 2
    assert answer.errors[-1].startswith("cellstate: error: trainer.num_nodes=2: start multi-node training with")
    assert not list(Path("outputs").rglob("manifest.json"))
