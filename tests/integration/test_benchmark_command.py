"""``cellstate benchmark``: what is killed is resumed to the same table, and only what has changed is trained again."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests import forkserver
from tests.conftest import Command, series_rows, slow, write_csv

import cellstate as package
from cellstate.benchmarking import process
from cellstate.cli import dispatch
from cellstate.runs.lock import Lock

FILE = """
overrides: [trainer.max_steps=40, trainer.val_check_interval=10, backbone.hidden_size=8, report=false]
seeds: [0, 1]
datasets:
  load:
    overrides: [experiment=series, data.path=load.csv, data.window=24, data.horizon=6, data.season=24]
    metric: mae
    published: [{name: Doe, score: 3.5, source: "Doe (2020), table 1"}]
  lost:
    overrides: [experiment=labelled, data.path=lost.ts, backbone.hidden_size=4]
    files: the attic
"""
JOBS = ["load, cellstate, seed 0", "load, cellstate, seed 1"]
MISSING = "cellstate: error: lost: no such file: {}; available from: the attic"

# Kills a run after its second validation, and the benchmark with it, as a machine that loses its power does.
STRIKE = """
import os, signal
from cellstate.callbacks.history import History
add = History.add
def struck(self, trainer, module):
    add(self, trainer, module)
    if len(self.rows) == 2:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
History.add = struck
"""


def written(folder: Path) -> Path:
    """Write the benchmark and its data into a folder."""
    folder.mkdir(exist_ok=True)
    write_csv(folder / "load.csv", series_rows())
    (folder / "tiny.yaml").write_text(FILE)
    return folder


def forked(words: list[str], **options: Any) -> forkserver.Process:
    """Start the process of a run without its seconds of imports; the parent of a forked child is its keeper."""
    _, _, flag, code, task = words
    code = code.replace("*job['follow']", "__import__('os').getppid(), *job['follow'][1:]")
    return forkserver.Process([flag, code, task], **options)


@pytest.fixture(autouse=True, scope="module")
def fast_processes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": forked}))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a benchmark that nothing disturbed."""
    folder = written(tmp_path_factory.mktemp("benchmark"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert dispatch(["benchmark", "tiny.yaml"]) == 1
    return folder


@pytest.fixture
def copied(finished: Path, working_folder: Path) -> Path:
    """A copy of it in the folder that the test runs in; the paths of its data stay those of the original."""
    shutil.copytree(finished, working_folder, dirs_exist_ok=True)
    return working_folder / "outputs" / "benchmarks" / "tiny"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that would be trained, none of which is."""
    names: list[str] = []
    monkeypatch.setattr(process, "train", lambda job, *_, **__: names.append(job.name))
    return names


def results(folder: Path) -> dict[str, Any]:
    """Everything but what depends on the speed and on the place."""
    content = json.loads((folder / "benchmark.json").read_text())
    for run in content["runs"]:
        for name in ("seconds", "memory", "resumed", "words", "reason"):
            del run[name]
    for dataset in content["datasets"]:
        for row in dataset["rows"]:
            row.pop("seconds", None), row.pop("memory", None)
            for one in row.get("missing", []):
                del one["reason"]
    return content


def test_a_benchmark_killed_by_sigkill_ends_with_the_table_of_an_undisturbed_one(
    finished: Path, cellstate: Command
) -> None:
    folder = written(Path.cwd())
    strike = f"exec({STRIKE!r}); sys.argv ="
    script = f"""
from cellstate.benchmarking import process
process.START = process.START.replace("sys.argv =", {strike!r})
from cellstate.cli import main
main(["benchmark", "tiny.yaml"])
"""
    assert forkserver.run(["-c", script], cwd=folder).returncode == -signal.SIGKILL
    place = folder / "outputs/benchmarks/tiny"
    first = place / "runs/load/cellstate/seed=0"
    assert (len((first / "metrics.csv").read_text().splitlines()), (first / "metrics.json").exists()) == (3, False)
    answer = cellstate("benchmark", "tiny.yaml")
    assert answer.status == 1
    assert answer.errors[-1] == MISSING.format(folder / "lost.ts")
    assert results(place) == results(finished / "outputs/benchmarks/tiny")
    resumed, whole = (run for run in json.loads((place / "benchmark.json").read_text())["runs"] if run["test"])
    assert (resumed["resumed"], whole["resumed"]) == (1, 0)
    assert resumed["seconds"]["whole"] is None  # of a process that could not tell
    assert 0 < whole["seconds"]["fit"] < whole["seconds"]["whole"]
    for seed in (0, 1):
        ours, theirs = (
            package.load(root / f"outputs/benchmarks/tiny/runs/load/cellstate/seed={seed}").state_dict()
            for root in (folder, finished)
        )
        assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_every_run_has_its_line_in_the_ledger_and_its_command_in_the_manifest(finished: Path) -> None:
    lines = (finished / "outputs/ledger.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1:4] for line in lines] == [["train", "series", "0"], ["train", "series", "1"]]
    folder = finished / "outputs/benchmarks/tiny"
    manifest = json.loads((folder / "runs/load/cellstate/seed=1/manifest.json").read_text())
    assert manifest["command"][:2] == ["cellstate", "train"]
    assert "seed=1" in manifest["command"]


def test_the_same_command_again_trains_nothing_and_reports_the_same(
    copied: Path, finished: Path, cellstate: Command, asked: list[str]
) -> None:
    before = {name: (copied / name).read_bytes() for name in ("results.csv", "results.md", "report.html")}
    answer = cellstate("benchmark", "tiny.yaml", f"data_dir={finished}")
    assert asked == []
    assert answer.errors[0] == "4 runs, 2 already complete, 2 without files"
    assert {name: (copied / name).read_bytes() for name in before} == before
    assert "Doe 3.5000" in answer.stdout
    (copied / "report.html").unlink()
    assert cellstate("report", copied).status == 0
    assert (copied / "report.html").read_bytes() == before["report.html"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"), ["load, cellstate, seed 2"]),
        (lambda text: text.replace("max_steps=40", "max_steps=50"), JOBS),
        *slow(
            (lambda text: text.replace("report=false", "report=true"), []),  # which changes no weight
            (lambda text: text.replace("score: 3.5", "score: 3.4"), []),
        ),
    ],
)
def test_what_has_another_config_is_trained_again(
    copied: Path, finished: Path, cellstate: Command, asked: list[str], change, expected
) -> None:
    Path("tiny.yaml").write_text(change(FILE))
    cellstate("benchmark", "tiny.yaml", f"data_dir={finished}")
    assert asked == expected
    kept = [file.parent.name for file in copied.rglob(".replaced/*/metrics.json")]
    assert sorted(kept) == (["seed=0.1", "seed=1.1"] if expected == JOBS else [])


def test_what_has_another_data_file_is_trained_again(copied: Path, cellstate: Command, asked: list[str]) -> None:
    for file in (copied / "runs/load/cellstate").glob("*/*.*"):  # the data has moved with its record
        if file.suffix in (".yaml", ".json"):
            text = file.read_text()
            path = json.loads((file.parent / "attempts.json").read_text())["files"]
            for name in path:
                text = text.replace(name, str(Path("load.csv").resolve()))
            file.write_text(text)
    cellstate("benchmark", "tiny.yaml")
    assert asked == []
    write_csv(Path("load.csv"), series_rows(299))
    cellstate("benchmark", "tiny.yaml", "seeds=1")
    assert asked == JOBS[1:]


def test_a_failed_run_is_a_line_with_its_reason_and_does_not_stop_the_others(
    finished: Path, cellstate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = FILE.replace("data.season=24", "data.season=24, data.target=nope").replace("lost.ts", f"{finished}/x.ts")
    Path("tiny.yaml").write_text(text)
    shutil.copy(finished / "load.csv", "load.csv")
    answer = cellstate("benchmark", "tiny.yaml", "seeds=0", "datasets=load", "folder=a, b = {c}")
    assert answer.status == 1
    (line,) = [line for line in answer.errors if line.startswith("cellstate: error: ")]
    assert line == (
        f"cellstate: error: load, cellstate, seed 0: failed: {Path.cwd()}/load.csv: no column 'nope' for data.target "
        "(columns: time, load); log: a, b = {c}/logs/load/cellstate/seed=0.log"
    )
    runs = json.loads(Path("a, b = {c}/benchmark.json").read_text())["runs"]
    assert [run["status"] for run in runs if run["dataset"] == "load"] == ["failed", "not trained"]
    monkeypatch.setattr(process, "train", lambda *_, **__: "ended by SIGKILL (is there enough memory?)")
    answer = cellstate("benchmark", "tiny.yaml", "datasets=load", "folder=a, b = {c}")
    assert (
        len([line for line in answer.errors if "failed: ended by SIGKILL" in line]) == 4
    )  # as it goes, and at the end


def test_two_processes_do_not_work_on_the_same_benchmark(copied: Path, cellstate: Command, asked: list[str]) -> None:
    lock = Lock(copied / ".lock")
    try:
        answer = cellstate("benchmark", "tiny.yaml")
    finally:
        lock.release()
    assert (answer.status, asked) == (2, [])
    assert answer.errors == [f"cellstate: error: {copied}: another process works on this benchmark; wait for it to end"]


def test_python_gets_the_results_and_the_problems(finished: Path, working_folder: Path, capfd) -> None:
    shutil.copytree(finished, working_folder, dirs_exist_ok=True)
    found = package.benchmark("tiny.yaml", data_dir=finished, quiet=True)
    assert capfd.readouterr().err == ""
    assert found.folder == Path("outputs/benchmarks/tiny")
    assert found.content == json.loads((found.folder / "benchmark.json").read_text())
    assert found.problems == (MISSING.format(finished / "lost.ts").removeprefix("cellstate: error: "),)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_run_and_ends_the_benchmark(working_folder: Path, number: int) -> None:
    written(working_folder)
    text = FILE.replace("max_steps=40", "max_steps=1000000").replace(
        "backbone.", "callbacks.early_stopping=null, backbone.", 1
    )
    Path("tiny.yaml").write_text(text)
    first = working_folder / "outputs/benchmarks/tiny/runs/load/cellstate/seed=0"
    with forkserver.Process(["-m", "cellstate", "benchmark", "tiny.yaml"], stderr=subprocess.PIPE) as child:
        while not (first / "checkpoints/last.ckpt").exists():
            assert child.poll() is None
        child.send_signal(number)
        _, stderr = child.communicate()
    assert child.returncode == 1
    assert stderr.splitlines()[-1] == (
        "cellstate: error: interrupted: 0 of 4 runs complete; the same command resumes it"
    )
    assert json.loads((first / "manifest.json").read_text())["status"] == "interrupted"
