"""The ledger of looks at test splits: one line a look, whoever writes, never changed."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests import forkserver

from cellstate.errors import RequestError, RunError
from cellstate.runs.ledger import COLUMNS, Ledger, Look, spoken

LOOK = Look(
    command="evaluate",
    experiment="series",
    seed=3,
    checkpoint="run/checkpoints/best.ckpt",
    weights="ab" * 32,
    source="/data/load.csv",
    fingerprint="cd" * 32,
    metric="mae",
    metrics={"mae": 0.1 + 0.2, "rmse": 0.5},
)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_line_says_when_what_and_how_well(tmp_path: Path) -> None:
    path = tmp_path / "outputs" / "ledger.csv"
    assert Ledger(path).add(LOOK) == 1
    (row,) = rows(path)
    assert tuple(row) == COLUMNS
    age = datetime.now(UTC) - datetime.fromisoformat(row["when"])
    assert timedelta(seconds=-1) <= age < timedelta(minutes=1)
    assert json.loads(row["metrics"]) == LOOK.metrics  # to the last bit
    assert float(row["value"]) == LOOK.metrics["mae"]
    assert (row["seed"], row["metric"], row["split"], row["looks"]) == ("3", "mae", "test", "1")


def test_looks_are_counted_by_data_and_what_stands_there_is_never_changed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.csv")
    generated = replace(LOOK, source="data=PatternData")
    kept = b""
    for look, expected in (
        (LOOK, 1),
        (replace(LOOK, weights="other"), 2),
        (replace(LOOK, fingerprint="the same file, cut into other windows"), 3),
        (replace(LOOK, source="/moved/load.csv"), 3),  # by its fingerprint: the third was of other windows
        (replace(LOOK, source="/data/other.csv", fingerprint="other"), 1),
        (replace(generated, fingerprint="seed 0"), 1),
        (replace(generated, fingerprint="seed 1"), 1),  # another seed generates other data
        (replace(generated, fingerprint="seed 0"), 2),
        (LOOK, 5),
    ):
        assert ledger.add(look) == expected
        content = ledger.path.read_bytes()
        assert content.startswith(kept)
        kept = content


def test_many_processes_write_at_once_and_no_line_is_lost_torn_or_counted_twice(tmp_path: Path) -> None:
    script = """
import sys, time
from cellstate.runs.ledger import Ledger, Look
ledger = Ledger("ledger.csv")
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    ledger.open()
    metrics = {"loss": number / 7, "x" * 3000: 1}
    ledger.add(Look("train", sys.argv[1], number, "", "", "data=X", "same", "loss", metrics))
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    children = [forkserver.Process(["-c", script, f"process {number}"], cwd=tmp_path, **pipes) for number in range(4)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:  # all begin once all are ready
        child.communicate("go\n")
        assert child.returncode == 0
    found = rows(tmp_path / "ledger.csv")
    assert sorted((row["experiment"], int(row["seed"])) for row in found) == [
        (f"process {process}", number) for process in range(4) for number in range(25)
    ]
    assert [int(row["looks"]) for row in found] == list(range(1, 101))
    assert (tmp_path / "ledger.csv").read_text().count("when,command") == 1


def test_a_line_that_a_killed_process_left_half_written_spoils_no_other(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.csv")
    ledger.add(LOOK)
    with ledger.path.open("a") as file:
        file.write("2026-01-01T00:00:00+00:00,train,ser")
    assert ledger.add(LOOK) == 2
    assert [row["experiment"] for row in rows(ledger.path)] == ["series", "ser", "series"]


def test_a_place_where_none_can_be_is_refused_before_and_left_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "results.csv"
    other.write_text("name,score\na,1\n")
    (tmp_path / "file").write_text("")
    for path, complaint in (
        (other, "not a ledger of cellstate; give another file"),
        (tmp_path, "cannot be written"),
        (tmp_path / "file" / "ledger.csv", "cannot be written"),
    ):
        for refusing in (Ledger(path).check, Ledger(path).open):
            with pytest.raises(RequestError) as caught:
                refusing()
            (line,) = caught.value.problems
            assert line.startswith(f"ledger={path}: ")
            assert complaint in line
    Ledger(tmp_path / "new" / "ledger.csv").check()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "results.csv"]
    assert other.read_text() == "name,score\na,1\n"


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX")
def test_a_full_disk_leaves_the_lines_before_whole_and_is_told(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.csv")
    ledger.add(LOOK)
    before = ledger.path.read_bytes()
    script = """
import resource, signal, sys
from pathlib import Path
from cellstate.runs.ledger import Ledger, Look
from cellstate.errors import RunError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path("ledger.csv")
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, resource.RLIM_INFINITY))
try:
    Ledger(path).add(Look("train", "x", 0, "", "", "data=X", "f", "loss", {"loss": 1.0}))
except RunError as error:
    print(error)
"""
    said = forkserver.run(["-c", script], cwd=tmp_path, check=True).stdout
    assert said.startswith("ledger.csv: cannot be written (")
    assert "this evaluation on the test split is not recorded; free some space" in said
    assert ledger.path.read_bytes() == before


def test_what_cannot_be_appended_is_a_failure_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="this evaluation on the test split is not recorded"):
        Ledger(tmp_path).add(LOOK)


def test_looks_in_words() -> None:
    assert spoken(1, "l.csv") == "test split evaluated once (l.csv)"
    assert spoken(1234, "l.csv") == "test split evaluated 1,234 times (l.csv)"
