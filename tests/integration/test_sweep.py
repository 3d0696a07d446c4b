"""Sweeps: each job once, whatever happens to it, and what all of them reached in one place."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import signal
import statistics
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from tests.conftest import TINY, Answer, Command

from cellstate.config.compose import compose
from cellstate.errors import not_written
from cellstate.runs.lock import Lock
from cellstate.sweep import SweepFolder, display, sweeper
from cellstate.sweep.job import SweepTask
from cellstate.training import run as experiment

Sweep = Callable[..., Answer]
PLACE = Path("outputs/sweeps/mine")
UNFIT = "data.batch_size=1000"  # than there are samples, which is known once there is data


@pytest.fixture
def sweep(train: Command) -> Sweep:
    """Run ``cellstate train -m`` on the smallest pattern task, in ``outputs/sweeps/mine``."""
    return lambda *words: train("-m", "sweep.name=mine", *words)


def content(place: Path = PLACE) -> dict[str, Any]:
    return json.loads((place / "sweep.json").read_text())


def jobs(place: Path = PLACE) -> list[dict[str, Any]]:
    return content(place)["jobs"]


def statuses(place: Path = PLACE) -> list[str]:
    return [row["status"] for row in jobs(place)]


def snapshot(place: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file of the runs of a sweep, with the time of its last change."""
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in place.glob("*_*/**/*") if file.is_file()}


# ---------------------------------------------------------------------- once each


def test_a_repeated_sweep_runs_nothing_and_one_with_more_values_runs_those(sweep: Sweep, trained: list[str]) -> None:
    assert sweep("backbone=gru", "seed=0,1").status == 0
    assert statuses() == ["completed"] * 2
    assert sorted(trained) == sorted(path.name for path in PLACE.glob("*_*"))
    before = snapshot(PLACE)

    trained.clear()
    answer = sweep("seed=range(2)", "backbone=gru", "quiet=false", "report=false")  # the same jobs in other words
    assert (answer.status, trained) == (0, [])
    assert "2 jobs, 2 already complete" in answer.stderr
    assert snapshot(PLACE) == before

    assert sweep("backbone=gru,rnn", "seed=range(3)").status == 0
    assert len(trained) == 4
    assert len(jobs()) == 6
    assert {path: state for path, state in snapshot(PLACE).items() if path in before} == before
    assert len(content()["commands"]) == 3


def test_without_a_name_the_same_command_finds_its_sweep(train: Command, trained: list[str]) -> None:
    assert train("-m", "seed=0,1").status == 0
    assert train("-m", "seed=0,1,2", "quiet=true").status == 0
    assert train("-m", "seed=0,1", "data.length=21").status == 0
    assert len(trained) == 5
    first, other = sorted(Path("outputs/sweeps").iterdir(), key=lambda place: len(statuses(place)), reverse=True)
    assert (statuses(first), statuses(other)) == (["completed"] * 3, ["completed"] * 2)
    assert OmegaConf.load(first / jobs(first)[0]["folder"] / "config.yaml").sweep.name == first.name


@pytest.mark.slow
def test_experiments_of_one_name_in_two_folders_are_two_sweeps_and_in_one_told_apart(train: Command) -> None:
    for search, network in (("first", "gru"), ("other", "rnn")):
        place = Path("outputs/sweeps") / search / "experiment"
        place.mkdir(parents=True)
        text = f"# @package _global_\ndefaults:\n  - pattern\n  - override /backbone: {network}\n"
        (place / "best.yaml").write_text(text)
        (place.parent / "sweep.json").write_text('{"commands": [], "jobs": []}')
        _, folder = compose("train", ["experiment=best"], config_dir=place.parent)
        assert folder.parent == Path(f"outputs/runs/{search}_best")
    small = [word for word in TINY if "hidden" not in word]
    for search in ("first", "other"):
        words = ["-m", "--config-dir", f"outputs/sweeps/{search}", "experiment=best", "seed=0,1"]
        assert train(*words, "trainer.limit_train_batches=1", *small).status == 0
        answer = train(*words, "sweep.name=both")
    found = [place.name for place in Path("outputs/sweeps").iterdir()]
    assert sum(name.startswith("first_best") for name in found) == sum(name.startswith("other_best") for name in found)
    assert not any(name.startswith("best") for name in found)
    groups = content(Path("outputs/sweeps/both"))["groups"]
    assert [(group["overrides"]["backbone"], group["n"]) for group in groups] == [("GRU", 2), ("RNN", 2)]
    assert all(f"backbone={name} seed=1" in answer.stdout for name in ("GRU", "RNN"))


def test_values_that_come_to_the_same_are_one_job(sweep: Sweep, trained: list[str]) -> None:
    assert sweep("optimizer.lr=0.01,1e-2,0.02").status == 0
    assert len(trained) == len(jobs()) == 2


def test_a_job_that_was_interrupted_goes_on_from_its_checkpoint(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["seed=0,1,2", "trainer.max_epochs=3"]
    assert sweep("seed=0,1", "trainer.max_epochs=3").status == 0
    whole = {row["folder"]: row["val"] for row in jobs()}
    for folder in whole:  # as if they had never been
        for file in sorted((PLACE / folder).rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        (PLACE / folder).rmdir()

    from cellstate.callbacks import Checkpoints

    keep = Checkpoints._save_last

    def stopped(self: Checkpoints, trainer: Any) -> None:  # Ctrl-C in the second epoch of the second job
        if trainer.default_root_dir.endswith(list(whole)[1]) and trainer.current_epoch == 1:
            self.stop.signal = "SIGINT"
        keep(self, trainer)

    monkeypatch.setattr(Checkpoints, "_save_last", stopped)
    answer = sweep(*words)
    assert answer.status == 1
    assert "interrupted with 1 of 3 jobs complete, 1 started; repeat the command to resume" in answer.stderr
    assert statuses() == ["completed", "interrupted", "pending"]
    assert "pending" in answer.stdout

    monkeypatch.setattr(Checkpoints, "_save_last", keep)
    assert sweep(*words).status == 0
    assert [row["resumed"] for row in jobs()] == [0, 1, 0]
    assert {row["folder"]: row["val"] for row in jobs()[:2]} == whole


def test_a_run_that_was_killed_as_it_began_is_put_aside_and_begun_anew(sweep: Sweep, trained: list[str]) -> None:
    assert sweep("seed=0,1,2").status == 0
    without_config, half_written, cut_config = (PLACE / row["folder"] for row in jobs())
    for folder in (without_config, half_written, cut_config):
        for file in (*folder.glob("checkpoints/*"), folder / "metrics.json", folder / "metrics.csv"):
            file.unlink()
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "status": "running", "finished": None}))
    (without_config / "config.yaml").unlink()
    (half_written / "manifest.json").write_text('{"id": ')
    lines = (cut_config / "config.yaml").read_text().splitlines(keepends=True)
    (cut_config / "config.yaml").write_text("".join(lines[: len(lines) // 2]))

    trained.clear()
    answer = sweep("seed=0,1,2")
    assert answer.status == 0, answer.stderr
    assert len(trained) == 3
    assert statuses() == ["completed"] * 3
    assert sorted(path.name for path in (PLACE / ".begun").iterdir()) == sorted(f"{row['folder']}.1" for row in jobs())


def test_a_job_that_another_process_works_on_is_left_to_it_and_waited_for(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep("seed=0").status == 0
    folder = SweepFolder(PLACE)
    (done,) = jobs()
    assert folder.take(done["folder"], "other") is None  # complete: nobody needs it

    assert sweep("seed=1,2", UNFIT).status == 2  # two jobs that wait to be begun again
    one, _ = jobs()[1:]
    claim = folder.take(one["folder"], "other")
    assert claim is not None
    assert folder.take(one["folder"], "third") is None

    def given_up(number: int) -> None:  # as the other process ends; before that nothing is said to be missing
        assert number == 1
        assert [row["status"] for row in folder.refresh()["jobs"]] == ["completed", "running", "failed"]
        assert [repeat for group in content()["groups"][1:] for repeat in group["missing"]] == [
            {"seed": 0},
            {"seed": 2},
        ]
        assert attempts == ["2"]
        folder.release(claim)

    attempts = []
    work = SweepTask.work
    monkeypatch.setattr(SweepTask, "work", lambda *parts: (attempts.append(str(parts[1].seed)), work(*parts)))
    monkeypatch.setattr(display, "print_waiting", given_up)
    answer = sweep("seed=1,2", UNFIT)
    assert attempts == ["2", "1"]  # what the other one left is taken up
    assert [row["status"] for row in jobs()] == ["completed", "failed", "failed"]
    assert answer.status == 2
    assert "job 2 " in answer.stderr


def test_ctrl_c_leaves_to_another_command_what_it_works_on(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweep("seed=0,1").status == 0
    for row in jobs():
        manifest = PLACE / row["folder"] / "manifest.json"
        manifest.write_text(manifest.read_text().replace("completed", "interrupted"))
    folder = SweepFolder(PLACE)
    claim = folder.take(jobs()[1]["folder"], "other")
    assert claim is not None
    stop = SimpleNamespace(sleep=lambda _: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(sweeper, "time", stop)
    answer = sweep("seed=0,1")
    assert answer.status == 1
    assert "1 job is still running in another command; waiting for it, press Ctrl-C to quit" in answer.stderr
    assert "interrupted with 1 of 2 jobs complete, 1 running in another command; repeat the command" in answer.stderr
    folder.release(claim)


def test_a_job_that_is_gone_on_with_by_itself_is_left_alone_and_waited_for(
    sweep: Sweep, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep("seed=0").status == 0
    (row,) = jobs()
    manifest = PLACE / row["folder"] / "manifest.json"
    done = manifest.read_text()
    manifest.write_text(done.replace("completed", "running"))
    lock = Lock(PLACE / row["folder"] / ".lock")  # as `cellstate train run=FOLDER` holds it

    def over(_: int) -> None:
        manifest.write_text(done)
        lock.release()

    monkeypatch.setattr(display, "print_waiting", over)
    trained.clear()
    assert (sweep("seed=0").status, statuses(), trained) == (0, ["completed"], [])


def test_a_job_is_a_run_like_any_other(sweep: Sweep, cellstate: Command) -> None:
    assert sweep("backbone=gru,rnn").status == 0
    for row in jobs():
        answer = cellstate("evaluate", f"checkpoint={PLACE / row['folder']}")
        assert answer.status == 0, answer.stderr
        again = cellstate("train", f"run={PLACE / row['folder']}")
        assert again.stdout.endswith("this run is complete; its results are in metrics.json\n")


# ---------------------------------------------------------------------- failing


def test_a_job_that_fails_is_told_and_tried_again(sweep: Sweep, trained: list[str]) -> None:
    answer = sweep("optimizer.lr=1e39,0.001", "trainer.max_epochs=3")
    assert answer.status == 1
    (line,) = [line for line in answer.errors if line.startswith("cellstate: error")]
    assert line.startswith("cellstate: error: job 1 (optimizer.lr=1e+39): the validation loss became nan")
    assert statuses() == ["failed", "completed"]
    assert "loss became nan" in " ".join(answer.stdout.split())
    assert "loss became nan" in jobs()[0]["reason"]
    assert math.isfinite(jobs()[1]["val"]["loss"])

    trained.clear()
    assert sweep("optimizer.lr=1e39,0.001", "trainer.max_epochs=3").status == 1
    assert trained == [jobs()[0]["folder"]]


def test_a_job_with_a_class_of_ones_own_goes_on_as_the_command_names_it(sweep: Sweep) -> None:
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/diverging.yaml").write_text(
        "# @package _global_\ndefaults:\n  - pattern\n"
        "scheduler:\n  _target_: tests.integration.test_interruption.explode\n  step: 8\n"
    )
    words = ["experiment=diverging", "--config-dir", "mine", "seed=0", "data.batch_size=16", "trainer.max_epochs=5"]
    for resumed in (0, 1):
        answer = sweep(*words, "optimizer.lr=1e-3", "trainer.gradient_clip_val=null")
        assert answer.status == 1
        (job,) = jobs()
        assert (job["status"], job["resumed"]) == ("failed", resumed)
        assert "loss became" in job["reason"]


def test_a_job_that_is_refused_leaves_no_folder_and_does_not_stop_the_others(sweep: Sweep) -> None:
    answer = sweep("data.batch_size=1000,16", "seed=1")
    assert answer.status == 2
    (line,) = [line for line in answer.errors if line.startswith("cellstate: error")]
    job = "job 1 (data.batch_size=1000)"  # named by what the other job does not share
    refused, done = jobs()
    assert (refused["status"], done["status"]) == ("failed", "completed")
    assert line == f"cellstate: error: {job}: {refused['reason']}"
    assert refused["reason"].startswith("data.batch_size=1000 is larger than the training split")
    assert not (PLACE / refused["folder"]).exists()
    assert (PLACE / done["folder"] / "metrics.json").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["sweep.name=a/b"], "sweep.name=a/b: should be a folder name of letters, digits and . _ + -"),
        (["sweep.name=a,b"], "sweep: cannot be swept; choose one value"),
        (["run=somewhere"], "run: resumes a single run; remove -m, or repeat the command of the sweep"),
        (["hydra.sweep.subdir=x"], "hydra.sweep.subdir: a job's folder is named by its config; remove it"),
        (["sweep.verbose=often"], "sweep.verbose=often: should be true or false"),
        (["backbone.hidden_size=0,8"], "backbone.hidden_size=0: should be greater than 0"),
        (["seed=a,2"], "seed=a: should be an integer"),
        (["optimizer.lr=-1,0.1"], "optimizer: Invalid learning rate: -1"),
        (["data.length=x"], "data.length=x: should be "),
        (["hydra.sweep.dir=/dev/null"], "hydra.sweep.dir=/dev/null: no run can be written there"),
        (["backbone=gru,lstn"], "backbone=lstn: unknown backbone; did you mean 'lstm'?"),
        (["hydra/launcher=cloud"], "hydra/launcher=cloud: unknown hydra/launcher; available: "),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_anything_is_written(
    train: Command, words: list[str], error: str
) -> None:
    answer = train("-m", *(["seed=0,1"] if "seed" not in words[0] else []), "trainer.max_epochs=1,2", *words)
    assert answer.status == 2
    (line,) = answer.errors
    assert line.startswith(f"cellstate: error: {error}")
    assert not Path("outputs").exists()


def test_a_list_that_cannot_be_written_any_more_is_told(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    take = SweepFolder.take

    def full(self: SweepFolder, name: str, by: str) -> object:
        if name.startswith("seed-1"):
            raise not_written(self.path / "sweep.json", OSError(errno.ENOSPC, "No space left on device"))
        return take(self, name, by)

    monkeypatch.setattr(SweepFolder, "take", full)
    answer = sweep("seed=0,1")
    assert answer.status == 1
    lines = [line for line in answer.errors if line.startswith("cellstate: error")]
    assert lines[0].endswith("sweep.json: cannot be written (No space left on device); free some space and try again")
    assert lines[1:] == ["cellstate: error: 1 of 2 jobs are not finished; repeat the command to resume them"]


# ---------------------------------------------------------------------- what is reached


def test_the_files_hold_what_the_runs_reached_and_means_over_seeds(sweep: Sweep) -> None:
    assert sweep("backbone=gru,rnn", "seed=range(2)").status == 0
    assert sweep("backbone=gru", "seed=2").status == 0
    with (PLACE / "sweep.csv").open() as file:
        lines = list(csv.DictReader(file))
    losses: dict[str, list[float]] = {}
    for row, line in zip(jobs(), lines, strict=True):
        metrics = json.loads((PLACE / row["folder"] / "metrics.json").read_text())
        assert (metrics["val"], metrics["parameters"]) == (row["val"], row["parameters"])
        assert (metrics["epochs"], metrics["seconds"], metrics["best"]) == (row["epochs"], row["seconds"], row["best"])
        assert float(line["val/loss"]) == metrics["val"]["loss"]
        assert (line["folder"], line["status"]) == (row["folder"], "completed")
        assert (line["backbone"], int(line["seed"])) == (row["overrides"]["backbone"], metrics["seed"])
        losses.setdefault(line["backbone"], []).append(metrics["val"]["loss"])
    gru, rnn = content()["groups"]
    t = {2: 12.706205, 3: 4.302653}  # Student's, 97.5 %, for n values
    for group in (gru, rnn):
        values = losses[group["overrides"]["backbone"]]
        found = group["val"]["loss"]
        assert found["n"] == group["n"] == len(values)
        assert found["mean"] == pytest.approx(statistics.fmean(values))
        half = t[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
        assert (found["high"] - found["low"]) / 2 == pytest.approx(half, rel=1e-6)
        assert (found["high"] + found["low"]) / 2 == pytest.approx(found["mean"])
    assert (gru["missing"], rnn["missing"]) == ([], [{"seed": 2}])
    with (PLACE / "groups.csv").open() as file:
        first, second = csv.DictReader(file)
    assert float(first["val/loss mean"]) == gru["val"]["loss"]["mean"]
    assert (first["missing"], second["missing"]) == ("", "seed=2")


def test_folds_are_averaged_over_as_seeds_are(cellstate: Command) -> None:
    small = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "backbone.hidden_size=4", "report=false"]
    words = ["experiment=next_state", "data.folds=3", "data.fold=range(3)", "sweep.name=mine", *small]
    assert cellstate("train", "-m", *words).status == 0
    (group,) = content()["groups"]
    assert (group["n"], content()["repeats"]) == (3, ["data.fold", "seed"])
    assert group["val"]["loss"]["mean"] == pytest.approx(statistics.fmean(row["val"]["loss"] for row in jobs()))
    assert [row["repeat"]["data.fold"] for row in jobs()] == [0, 1, 2]


def test_a_sweep_says_a_line_a_job_and_its_jobs_say_nothing_unless_asked(sweep: Sweep) -> None:
    answer = sweep("backbone=gru", "seed=0,1")
    told = [line for line in answer.errors if "job" in line]
    assert told[0] == "2 jobs"
    assert [line.split("  ")[:2] for line in told[1:]] == [[f"{n}/2", f"job {n}"] for n in (1, 2)]
    assert all("val/loss" in line and line.endswith(" s") for line in told[1:])
    assert "parameters, seed" not in answer.stderr  # of a run outside of a sweep
    assert "this run" not in answer.stdout
    assert "means over seed" in answer.stdout

    answer = sweep("backbone=lstm", "sweep.verbose=true")
    assert "this run" in answer.stdout
    answer = sweep("backbone=rnn", "quiet=true")
    assert (answer.status, answer.stdout, answer.stderr) == (0, "", "")


def test_a_traceback_is_shown_if_asked_for(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(experiment, "build_data", broken)
    answer = sweep("seed=0,1")
    assert answer.status == 1
    told = [line for line in answer.errors if "error" in line]
    assert [line.partition("): ")[2] for line in told] == [
        "KeyError: 'lost'; HYDRA_FULL_ERROR=1 shows the traceback"
    ] * 2
    assert "Traceback" not in answer.stderr
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert "in broken" in sweep("seed=0,1").stderr
