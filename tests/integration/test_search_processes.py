"""Searches that are killed, shared by two shells, and given to launchers with processes of their own."""

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

import optuna
import pytest
from optuna.trial import TrialState
from tests import forkserver
from tests.conftest import TINY, Command
from tests.integration.test_sweep_processes import LOGGED, trainings

from cellstate.sweep.search.storage import open_storage
from cellstate.training import run as experiment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and locks are POSIX")

PLACE = Path("outputs/sweeps/mine")
WORDS = [
    *("train", "-m", "experiment=pattern", *TINY, "sweep=search", "optimizer.lr=tag(log,interval(1e-4,1e-1))"),
    *("model.dropout=interval(0.0,0.5)", "sweep.sampler={name: tpe, n_startup_trials: 4}"),
]


def start(*words: str, companions: int = 1) -> forkserver.Process:
    command = ["-c", LOGGED, "trainings.log", str(companions), *WORDS, "sweep.name=mine", *words]
    return forkserver.Process(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def study(name: str = "mine") -> optuna.Study:
    return optuna.load_study(storage=open_storage(f"outputs/sweeps/{name}/study.journal"), study_name=name)


def completed() -> set[str]:
    return {file.parent.name for file in PLACE.glob("*/manifest.json") if '"status": "completed"' in file.read_text()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_a_search_killed_at_any_moment_and_repeated_ends_with_the_trials_of_one_that_was_not_killed(
    seed: int, cellstate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sweep.n_trials=10", "trainer.max_epochs=3", "quiet=true"]
    draw = random.Random(seed)
    enough, delay = draw.randrange(1, 8), draw.uniform(0, 0.5)
    with start(*words) as child:
        while len(completed()) < enough:
            assert child.poll() is None, child.communicate()
            time.sleep(0.01)
        time.sleep(delay)
        os.killpg(child.pid, signal.SIGKILL)
    begun, done = [folder for _, folder in trainings()], completed()
    assert enough <= len(done) < 10

    fit, again = experiment.fit, []

    def logged(trainer: Any, *parts: Any) -> None:
        again.append(Path(trainer.default_root_dir).name)
        fit(trainer, *parts)

    monkeypatch.setattr(experiment, "fit", logged)
    answer = cellstate(*WORDS, "sweep.name=mine", *words)
    assert answer.status == 0, answer.stderr
    trials = study().trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 10
    assert len(completed()) == 10
    # What was complete was not trained again; what the kill struck, if it struck one, was gone on with, and no other.
    assert not set(again) & done
    assert len(set(begun)) == len(begun)
    assert set(begun) & set(again) == set(begun) - done
    assert len(begun) + len(again) - len(set(begun) - done) == 10
    assert all(len(trial.intermediate_values) == 3 for trial in trials)  # each validation is reported once

    monkeypatch.setattr(experiment, "fit", fit)
    assert cellstate(*WORDS, "sweep.name=whole", *words).status == 0
    whole = study("whole").trials
    assert [(trial.params, trial.values) for trial in trials] == [(trial.params, trial.values) for trial in whole]


@pytest.mark.slow
@pytest.mark.usefixtures("working_folder")
def test_two_processes_share_one_search_and_end_with_its_number_of_trials() -> None:
    with start("sweep.n_trials=4", companions=2) as one, start("sweep.n_trials=4", companions=2) as other:
        told = [one.communicate()[0], other.communicate()[0]]
    assert (one.returncode, other.returncode) == (0, 0), told
    assert [trial.state for trial in study().trials] == [TrialState.COMPLETE] * 4
    log = trainings()
    assert sorted(folder for _, folder in log) == sorted(completed())  # each once
    assert len(log) == 4
    assert len({process for process, _ in log}) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("working_folder")
def test_joblib_runs_as_many_trials_at_a_time_as_it_has_processes_and_prunes_in_them() -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    # No loss of a network that has just begun lies below 0.1: each is pruned as soon as the warm-up is over.
    words = ["sweep.n_trials=3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.max_epochs=4"]
    with start(*words, "sweep.pruner={name: threshold, upper: 0.1, n_warmup_steps: 2}") as child:
        told = child.communicate()[0]
    assert child.returncode == 0, told
    trials = study().trials
    assert [trial.state for trial in trials] == [TrialState.PRUNED] * 3
    assert {len(trial.intermediate_values) for trial in trials} == {2}
    statuses = [json.loads(file.read_text())["status"] for file in PLACE.glob("*/manifest.json")]
    assert statuses == ["pruned"] * 3
    # Two at a time: the second of a pair was proposed before the first was over.
    for first, second in zip(trials[::2], trials[1::2], strict=False):
        assert second.datetime_start is not None
        assert first.datetime_complete is not None
        assert second.datetime_start < first.datetime_complete
    assert "pruned after validation 2: val/loss" in told


def test_ctrl_c_saves_the_trial_and_the_same_command_goes_on_with_it(cellstate: Command) -> None:
    words = ["sweep.n_trials=2", "trainer.max_epochs=100000", "callbacks.early_stopping=null"]
    with start(*words) as child:
        while not list(PLACE.glob("*/checkpoints/last.ckpt")):
            assert child.poll() is None, child.communicate()
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        told = child.communicate()[0]
    assert child.returncode == 1
    assert "cellstate: error: interrupted with 0 of 2 trials finished, 1 started; repeat the command to resume" in told
    (trial,) = study().trials
    assert trial.state == TrialState.RUNNING
    row = json.loads((PLACE / "sweep.json").read_text())["jobs"][0]
    assert (row["folder"], row["status"]) == (trial.user_attrs["job"]["folder"], "interrupted")
    checkpoint = PLACE / row["folder"] / "checkpoints" / "last.ckpt"
    assert cellstate("evaluate", f"checkpoint={checkpoint}", "test=false").status == 0
