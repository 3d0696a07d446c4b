"""W&B with a key: against a server that answers, one that does not, and one that falls silent. Nothing ever waits."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from tests import forkserver
from tests.conftest import TINY, Command
from tests.wandb_files import OfflineRun, records
from tests.wandb_server import KEY, Server, serving

import cellstate as package

WORDS = ("experiment=pattern", *TINY, "trainer.max_epochs=2", "logger=wandb", "hydra.run.dir=run")
DOCUMENT = Path(__file__).parents[2] / "docs" / "tracking.md"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def train(folder: Path, variables: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``cellstate train`` in a process of its own, as W&B reads the environment once in a process."""
    environment = {**os.environ, **variables}
    command = ["-m", "cellstate", "train", *WORDS, *words]
    return forkserver.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL)


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["val/loss"]) for row in csv.DictReader(file)]


def test_with_a_key_the_run_goes_to_the_server(working_folder: Path, server: Server) -> None:
    ended = train(working_folder, {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address})
    assert ended.returncode == 0, ended.stderr
    name = json.loads(Path("run/manifest.json").read_text())["id"]
    assert f"{server.address}/me/cellstate/runs/{name}" in ended.stdout
    assert [row["val/loss"] for row in server.rows[name] if "val/loss" in row] == losses(Path("run"))
    assert server.exit_codes[name] == 0
    assert {asked["input"]["artifactTypeName"] for asked in server.asked("CreateArtifact")} >= {"dataset", "model"}
    assert len(server.asked("UseArtifact")) == 1  # of the data
    assert "wandb-summary.json" in server.uploads
    assert "wandb:" not in ended.stderr  # cellstate says where the run lies, and W&B nothing beside


def test_a_key_that_is_none_is_one_line_that_says_what_to_do(working_folder: Path) -> None:
    ended = train(working_folder, {"WANDB_API_KEY": "short"})
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("cellstate: error: logger=wandb: WANDB_API_KEY invalid: ")
    assert line.endswith("; copy the key again (see wandb login), or log offline with logger.wandb.mode=offline")


def test_a_server_that_never_answers_makes_it_an_offline_run(working_folder: Path, server: Server) -> None:
    server.answering.clear()
    variables = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address}
    ended = train(working_folder, variables, "logger.wandb.init_timeout=1.0")
    assert ended.returncode == 0, ended.stderr
    (warning,) = [line for line in ended.stderr.splitlines() if line.startswith("cellstate: warning")]
    assert "logging offline" in warning
    assert OfflineRun(Path("run")).exit_codes == [0]


@pytest.mark.slow
def test_a_server_that_falls_silent_does_not_hold_up_the_end(working_folder: Path, server: Server) -> None:
    server.silent_after = "UpsertBucket"
    variables = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address, "WANDB_HTTP_TIMEOUT": "2"}
    ended = train(working_folder, variables, "logger.wandb.finish_timeout=2.0")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(Path("run/manifest.json").read_text())["status"] == "completed"
    (file,) = Path("run").glob("wandb/run-*/run-*.wandb")  # all of it is on the disk, to be uploaded later
    rows = [record.history for record in records(file) if record.WhichOneof("record_type") == "history"]
    found = [json.loads(item.value_json) for row in rows for item in row.item if "val/loss" in item.nested_key]
    assert found == losses(Path("run"))


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_on_a_terminal_without_a_key_nobody_is_asked(working_folder: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = ["-m", "cellstate", "train", *WORDS]
    with forkserver.Process(command, cwd=working_folder, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 4096):
                said += part
        except OSError:  # as Linux says that the other end is closed
            pass
        assert process.wait(forkserver.PATIENCE) == 0, said.decode()
    os.close(ours)
    assert b"offline" in said
    assert b"Enter your choice" not in said


def test_online_without_a_key_is_refused(cellstate: Command) -> None:
    answer = cellstate("train", *WORDS, "logger.wandb.mode=online")
    assert answer.status == 2
    (line,) = answer.errors
    assert "no API key" in line
    assert "wandb login" in line


def test_what_an_agent_of_a_sweep_runs_is_a_command_that_works(working_folder: Path) -> None:
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    (block,) = [part for part in DOCUMENT.read_text().split("```") if part.startswith("yaml\n# wandb_sweep.yaml\n")]
    sweep = yaml.safe_load(block.removeprefix("yaml\n"))
    drawn = {
        name: {"value": values["values"][0] if "values" in values else values["min"]}
        for name, values in sweep["parameters"].items()
    }
    arguments = create_sweep_command_args({"args": drawn})
    words: list[str] = []
    for part in create_sweep_command(sweep["command"]):
        words += arguments["args_no_hyphens"] if part == "${args_no_hyphens}" else [part]
    assert words[:2] == ["cellstate", "train"]
    variables = {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "from-the-agent", "WANDB_MODE": "offline"}
    command = ["-m", *words, *TINY, "hydra.run.dir=run"]
    ended = forkserver.run(command, cwd=working_folder, env={**os.environ, **variables})
    assert ended.returncode == 0, ended.stderr
    tracked = OfflineRun(Path("run"))
    (run,) = tracked.of_kind("run")
    assert (run.run_id, run.sweep_id) == ("from-the-agent", "s1")
    assert json.loads(Path("run/manifest.json").read_text())["id"] == "from-the-agent"
    assert sweep["metric"]["name"] in tracked.summary  # by which the sweep chooses


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one offline run."""
    working = tmp_path_factory.mktemp("working")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(working)
        package.train([*WORDS[:-1], "hydra.run.dir=outputs/runs/pattern/mine"])
    return working / "outputs"


@pytest.fixture
def outputs(working_folder: Path, offline: Path) -> Path:
    """The same, for a test that changes it."""
    shutil.copytree(offline, working_folder / "outputs", symlinks=True)
    return working_folder / "outputs"


def test_offline_runs_are_found_and_uploaded_once(
    outputs: Path, cellstate: Command, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    folder = outputs / "runs/pattern/mine"
    name = json.loads((folder / "manifest.json").read_text())["id"]
    assert cellstate("sync", "--dry-run").stdout.splitlines() == [
        f"{name}  to upload  outputs/runs/pattern/mine",
        "1 of 1 run to upload",
    ]
    assert server.operations == []
    answer = cellstate("sync")
    assert answer.status == 0, answer.stderr
    assert answer.stdout.splitlines() == [f"{name}  uploaded  outputs/runs/pattern/mine", "1 of 1 uploaded"]
    assert [row["val/loss"] for row in server.rows[name] if "val/loss" in row] == losses(folder)
    assert server.exit_codes[name] == 0
    assert {asked["input"]["artifactTypeName"] for asked in server.asked("CreateArtifact")} >= {"dataset", "model"}
    assert len(server.asked("UseArtifact")) == 1
    assert cellstate("sync").stdout.splitlines()[0] == f"{name}  already uploaded  outputs/runs/pattern/mine"


def test_all_parts_of_a_run_go_to_one_run(
    outputs: Path, cellstate: Command, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    (part,) = outputs.rglob("offline-run-*")
    again = part.with_name(part.name.replace("offline-run-20", "offline-run-21"))  # a later one, of the same id
    shutil.copytree(part, again)
    assert cellstate("sync", "outputs/runs/pattern/mine").status == 0
    assert len(server.rows) == 1
    (rows,) = server.rows.values()
    assert len([row for row in rows if "val/loss" in row]) == 4
    assert len(list(outputs.rglob("*.synced"))) == 2


def test_uploading_without_a_key_or_a_network_is_one_line(
    outputs: Path, cellstate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = cellstate("sync")
    assert (answer.status, len(answer.errors)) == (2, 1)
    assert "no W&B API key, 1 run not uploaded" in answer.errors[0]
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nobody listens
    answer = cellstate("sync")
    assert (answer.status, len(answer.errors)) == (1, 1)
    assert "http://127.0.0.1:9 does not respond" in answer.errors[0]
    assert not list(outputs.rglob("*.synced"))


def test_a_run_that_cannot_be_uploaded_is_named_and_holds_up_no_other(
    outputs: Path, cellstate: Command, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    broken = outputs / "runs/pattern/broken/wandb/offline-run-20200101_000000-abcd/run-abcd.wandb"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no such file")
    answer = cellstate("sync")
    assert answer.status == 1
    assert [line.split()[1] for line in answer.stdout.splitlines()] == ["failed", "uploaded", "of"]
    (line,) = answer.errors
    assert "outputs/runs/pattern/broken: was not uploaded" in line


def test_uploading_imports_nothing_from_the_working_folder(
    outputs: Path, cellstate: Command, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    for module in ("wandb", "click", "platform"):
        (outputs.parent / f"{module}.py").write_text("open('imported', 'w').close()\nraise SystemExit(3)\n")
    assert cellstate("sync").status == 0
    assert not (outputs.parent / "imported").exists()


def test_a_run_that_is_going_on_is_left_alone(outputs: Path, cellstate: Command) -> None:
    from cellstate.runs.lock import Lock

    folder = outputs / "runs/pattern/mine"
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    lock = Lock(folder / ".lock")
    assert "still running" in cellstate("sync", "--dry-run").stdout
    lock.release()
    assert "to upload" in cellstate("sync", "--dry-run").stdout
