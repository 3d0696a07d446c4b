"""The list of a sweep's jobs: what earlier commands left in it, and how it comes back where it was lost."""

from __future__ import annotations

import csv

import pytest
from tests.conftest import Command, slow
from tests.integration.test_sweep import PLACE, UNFIT, Sweep, content, jobs, snapshot, statuses


@pytest.fixture
def sweep(train: Command) -> Sweep:
    """Run ``cellstate train -m`` on the smallest pattern task, in ``outputs/sweeps/mine``."""
    return lambda *words: train("-m", "sweep.name=mine", *words)


def test_what_an_earlier_command_was_refused_is_forgotten(sweep: Sweep) -> None:
    assert sweep("seed=7,8", UNFIT).status == 2
    assert statuses() == ["failed", "failed"]
    answer = sweep("seed=0,1")
    assert (answer.status, statuses()) == (0, ["completed", "completed"])
    assert [group["missing"] for group in content()["groups"]] == [[]]
    assert "missing" not in answer.stdout


def test_what_became_of_earlier_commands_does_not_decide_on_the_exit_status_and_is_told(sweep: Sweep) -> None:
    assert sweep("optimizer.lr=1e39", "trainer.max_epochs=3").status == 1
    answer = sweep("optimizer.lr=0.001")
    assert (answer.status, statuses()) == (0, ["failed", "completed"])
    assert answer.stdout.splitlines()[-1].strip() == "this command: 1 completed; earlier commands: 1 failed"
    assert sweep("optimizer.lr=1e39,0.001", "trainer.max_epochs=3").status == 1


@pytest.mark.parametrize("broken", [None, '{"jobs": [{"key": 1}], "commands": []}', *slow("{", '{"jobs": 1}')])
def test_a_list_of_jobs_that_was_lost_or_broken_is_written_anew_from_their_folders(
    broken: str | None, sweep: Sweep, trained: list[str]
) -> None:
    assert sweep("optimizer.lr=0.01,0.02", "seed=0,1", "report=false").status == 0
    before, rows, groups = snapshot(PLACE), jobs(), content()["groups"]
    commands = content()["commands"]
    (PLACE / "sweep.json").unlink() if broken is None else (PLACE / "sweep.json").write_text(broken)
    trained.clear()
    # Jobs that the command does not name are there again, and those that it names are found by their hash,
    # although by this command their folders would be called something else.
    answer = sweep("optimizer.lr=0.01", "seed=1")
    assert (answer.status, trained) == (0, [])
    assert "1 job, 1 already complete" in answer.stderr
    assert snapshot(PLACE) == before
    for kept in ("key", "folder", "group", "repeat", "status", "val", "seconds"):
        assert [row[kept] for row in jobs()] == [row[kept] for row in rows]
    assert [row["overrides"]["optimizer.lr"] for row in jobs()] == [0.01, 0.01, 0.02, 0.02]
    assert [group["n"] for group in content()["groups"]] == [2, 2]
    assert [group["val"] for group in content()["groups"]] == [group["val"] for group in groups]
    assert content()["commands"][:1] == commands
    with (PLACE / "sweep.csv").open() as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0", "1", "0", "1"]
    if broken is not None:
        assert (PLACE / "sweep.json.broken-1").read_text() == broken
        assert "sweep.json: is not a valid list of a sweep's jobs" in answer.stderr


def test_a_finished_search_whose_list_was_lost_has_all_its_jobs_again(train: Command, trained: list[str]) -> None:
    words = ["-m", "sweep=search", "optimizer.lr=tag(log,interval(1e-3,1e-1))", "sweep.name=mine", "report=false"]
    assert train(*words, "sweep.n_trials=2").status == 0
    rows, command = jobs(), content()["commands"]
    groups = {group["group"]: group["overrides"] for group in content()["groups"]}
    (PLACE / "sweep.json").unlink()
    trained.clear()
    assert train(*words, "sweep.n_trials=2").status == 0
    assert trained == []
    for kept in ("key", "folder", "group", "repeat", "overrides", "status", "val"):
        assert [row[kept] for row in jobs()] == [row[kept] for row in rows]
    assert {group["group"]: group["overrides"] for group in content()["groups"]} == groups
    assert content()["commands"] == command
    assert len(content()["search"]["trials"]) == 2


def test_a_job_whose_folder_was_renamed_is_found_by_its_hash(sweep: Sweep, trained: list[str]) -> None:
    assert sweep("seed=0,1").status == 0
    (PLACE / jobs()[0]["folder"]).rename(PLACE / "the-good-one")
    trained.clear()
    assert sweep("seed=0,1").status == 0
    assert (trained, statuses(), jobs()[0]["folder"]) == ([], ["completed"] * 2, "the-good-one")
