"""Sweeps that are killed, shared by two shells, and given to launchers with processes of their own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests import forkserver
from tests.conftest import TINY, Command, slow

from cellstate.training import run as experiment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and locks are POSIX")

PLACE = Path("outputs/sweeps/mine")
WORDS = ["train", "-m", "experiment=pattern", *TINY, "sweep.name=mine"]

# A command line that writes down each training that begins: the process, and the run folder. With a number of
# companions, no training begins before so many processes have come to it.
LOGGED = """
import os, sys, time
from pathlib import Path
from cellstate.cli import main
from cellstate.training import run as experiment

fit, log, companions = experiment.fit, Path(sys.argv[1]), int(sys.argv[2])

def logged(trainer, *parts):
    with log.open("a") as file:
        file.write(f"{os.getpid()} {Path(trainer.default_root_dir).name}\\n")
    while len({line.split()[0] for line in log.read_text().splitlines()}) < companions:
        time.sleep(0.01)
    fit(trainer, *parts)

experiment.fit = logged
main(sys.argv[3:])
"""


def start(*words: str, companions: int = 1) -> forkserver.Process:
    command = ["-c", LOGGED, "trainings.log", str(companions), *WORDS, *words]
    return forkserver.Process(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def trainings() -> list[tuple[str, str]]:
    """The process and the folder of each training so far."""
    log = Path("trainings.log")
    return [(line.split()[0], line.split()[1]) for line in log.read_text().splitlines()] if log.exists() else []


def jobs() -> list[dict[str, Any]]:
    return json.loads((PLACE / "sweep.json").read_text())["jobs"]


def manifests() -> dict[str, dict[str, Any]]:
    return {file.parent.name: json.loads(file.read_text()) for file in PLACE.glob("*/manifest.json")}


def completed() -> set[str]:
    return {file.parent.name for file in PLACE.glob("*/manifest.json") if '"status": "completed"' in file.read_text()}


@pytest.mark.parametrize("seeds", [1, *slow(4)])
def test_a_sweep_killed_at_any_moment_and_repeated_ends_with_each_job_run_once(
    seeds: int, cellstate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["backbone=rnn,lstm,gru", "optimizer.lr=0.01,0.02", f"seed=range({seeds})"]
    draw, count = random.Random(0), 6 * seeds
    enough, delay = draw.randrange(1, count * 3 // 4), draw.uniform(0, count / 48)
    with start(*words) as child:
        while len(completed()) < enough:
            assert child.poll() is None, child.communicate()
            time.sleep(0.01)
        time.sleep(delay)
        os.killpg(child.pid, signal.SIGKILL)
    begun = [folder for _, folder in trainings()]
    done = completed()
    assert enough <= len(done) < count
    before = {folder: (PLACE / folder / "manifest.json").stat().st_mtime_ns for folder in done}

    fit, again = experiment.fit, []

    def logged(trainer: Any, *parts: Any) -> None:
        again.append(Path(trainer.default_root_dir).name)
        fit(trainer, *parts)

    monkeypatch.setattr(experiment, "fit", logged)
    answer = cellstate(*WORDS, *words)
    assert answer.status == 0, answer.stderr
    assert [row["status"] for row in jobs()] == ["completed"] * count
    assert len(completed()) == len(manifests()) == count
    # What was complete was not touched, and what was not was trained once more.
    assert {folder: (PLACE / folder / "manifest.json").stat().st_mtime_ns for folder in done} == before
    assert sorted(again) == sorted({row["folder"] for row in jobs()} - done)
    assert len(set(begun)) == len(begun)
    # The one that the kill struck, if it struck one, was gone on with or begun anew, and no other.
    assert set(begun) & set(again) == set(begun) - done
    assert len(set(begun) - done) <= 1
    resumed = [folder for folder, manifest in manifests().items() if manifest.get("resumed")]
    assert set(resumed) <= set(begun) - done


@pytest.mark.usefixtures("working_folder")
def test_two_processes_share_one_sweep_and_run_each_job_once() -> None:
    words = ["backbone=rnn,gru", "seed=range(2)"]
    with start(*words, companions=2) as one, start(*words, companions=2) as other:
        told = [one.communicate()[0], other.communicate()[0]]
    assert (one.returncode, other.returncode) == (0, 0), told
    assert len(completed()) == 4
    log = trainings()
    assert sorted(folder for _, folder in log) == sorted(completed())  # each once
    assert len({process for process, _ in log}) == 2
    assert not any(manifest.get("resumed") for manifest in manifests().values())
    assert [row["status"] for row in jobs()] == ["completed"] * 4


@pytest.mark.slow
@pytest.mark.usefixtures("working_folder")
def test_joblib_runs_jobs_in_processes_that_share_the_threads() -> None:
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    # A new interpreter, as the number of threads is read when torch is loaded.
    free = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "data.batch_size=16,1000", "seed=0,1"]
    command = [sys.executable, "-m", "cellstate", *WORDS, *words]
    child = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=free)
    told = child.stdout
    assert child.returncode == 2
    errors = [line for line in told.splitlines() if line.startswith("cellstate: error")]
    assert [line.partition("): ")[2].partition(" is")[0] for line in errors] == ["data.batch_size=1000"] * 2
    assert [row["status"] for row in jobs()] == ["completed", "completed", "failed", "failed"]
    assert {manifest["machine"]["threads"] for manifest in manifests().values()} == {max(1, joblib.cpu_count() // 2)}
    assert {tuple(manifest["command"][-4:]) for manifest in manifests().values()} == {tuple(words)}
    assert "this run" not in told


@pytest.mark.slow
def test_joblib_told_to_stop_saves_the_running_jobs_and_begins_no_more(cellstate: Command) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=range(4)"]
    endless = ["trainer.max_epochs=100000", "callbacks.early_stopping=null"]
    with start(*words, *endless) as child:
        while len(list(PLACE.glob("*/checkpoints/last.ckpt"))) < 2:
            assert child.poll() is None, child.communicate()
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        told = child.communicate()[0]
    assert child.returncode == 1
    assert "cellstate: error: interrupted with 0 of 4 jobs complete, 2 started; repeat the command to resume" in told
    assert [row["status"] for row in jobs()] == ["interrupted", "interrupted", "pending", "pending"]
    assert all(manifest["status"] == "interrupted" for manifest in manifests().values())
    folder = PLACE / jobs()[0]["folder"]
    assert cellstate("evaluate", f"checkpoint={folder / 'checkpoints' / 'last.ckpt'}").status == 0


@pytest.mark.slow
@pytest.mark.usefixtures("working_folder")
@pytest.mark.parametrize(
    ("launcher", "plugin"),
    [("submitit_local", "hydra_plugins.hydra_submitit_launcher"), ("ray", "hydra_plugins.hydra_ray_launcher")],
)
def test_engines_for_many_machines_run_jobs_here_too(launcher: str, plugin: str) -> None:
    pytest.importorskip(plugin)
    child = forkserver.run(["-m", "cellstate", *WORDS, f"hydra/launcher={launcher}", "data.batch_size=16,1000"])
    assert child.returncode == 2, child.stderr
    assert "(data.batch_size=1000): data.batch_size=1000 is larger" in child.stderr
    assert [row["status"] for row in jobs()] == ["completed", "failed"]
    assert "/2  job 1  data.batch_size=16  val/loss" in child.stderr
    (manifest,) = manifests().values()
    assert manifest["command"][:2] == ["cellstate", "train"]
