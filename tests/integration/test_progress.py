"""What a person sees of a run while it trains, on terminals of several widths and in a log file."""

import csv
import re

import pytest
from tests.conftest import TINY

from cellstate import resume
from cellstate.callbacks import Checkpoints, progress
from cellstate.callbacks.pace import Pace
from cellstate.errors import RunError

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LINE = re.compile(r"^epoch +(\d+)/(\d+)  step +([\d,]+)/([\d,]+)")
SMALL = ("experiment=pattern", *TINY[1:], "data.batch_size=8")  # eight steps an epoch


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    """Display every step, and take any time for enough to tell a speed by."""
    monkeypatch.setattr(progress, "REFRESH", 0.0)
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr(progress, "LINE_AT_LEAST", 0.0)
    monkeypatch.setattr("cellstate.callbacks.pace.BASIS", 1e-9)


def lines_of(text):
    return [line for line in text.splitlines() if LINE.match(line)]


def rows_of(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(cellstate, monkeypatch, columns):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    answer = cellstate("train", *SMALL, "trainer.max_epochs=3")
    display = [part for part in re.split(r"[\r\n]", CONTROL.sub("", answer.stderr)) if re.match("epoch|loss", part)]
    assert max(map(len, display)) <= columns
    shown = "\n".join(display)
    assert "step 24/24" in shown
    if columns >= 80:
        assert re.search(r"loss 0\.\d+  val/loss 0\.\d+  best 0\.\d+ \(epoch \d\)  [\d,.]+ samples/s", shown)
        assert re.search(r"━+ +\d+:\d\d left", shown)


def test_a_log_file_gets_lines_with_the_numbers_of_the_run(cellstate, working_folder):
    answer = cellstate("train", *SMALL, "trainer.max_epochs=3", "hydra.run.dir=run", "optimizer.lr=0.5")
    lines = lines_of(answer.stderr)
    assert not CONTROL.search(answer.stderr)
    steps = [int(LINE.match(line)[3]) for line in lines]
    assert steps == sorted(steps)
    assert set(steps) == set(range(1, 25))
    assert {LINE.match(line)[4] for line in lines} == {"24"}
    rows, shown = rows_of(working_folder / "run"), {}
    for line in lines:
        if found := re.search(r"  val/loss (\S+)  best (\S+) \(epoch (\d+)\)", line):
            shown[found.groups()] = None  # in order, each once
    losses = [float(row["val/loss"]) for row in rows]
    bests = [min(range(number), key=losses.__getitem__) for number in (1, 2, 3)]
    pairs = zip(losses, bests, strict=True)
    assert list(shown) == [(f"{loss:.4f}", f"{losses[best]:.4f}", f"{best + 1}") for loss, best in pairs]


def test_the_time_left_is_said_to_be_at_least_so_long_until_a_validation_was_timed(cellstate):
    lines = lines_of(cellstate("train", *SMALL, "trainer.max_epochs=2").stderr)
    assert "left" not in lines[0], "one step is no measure"
    with_time = [(int(LINE.match(line)[3]), "at least" in line) for line in lines if "left" in line]
    assert {lower for step, lower in with_time if step < 8} == {True}
    assert {lower for step, lower in with_time if step > 8} == {False}


def test_a_run_without_a_known_end_says_none(cellstate):
    answer = cellstate("train", *SMALL, "trainer.max_epochs=-1", "trainer.max_time=00:00:00:02")
    assert re.search(r"^epoch 1  step 3  loss", answer.stderr, re.MULTILINE)
    left = [int(seconds) for seconds in re.findall(r"0:0(\d) left", answer.stderr)]
    assert left, "the time that a run is given ends it"
    assert max(left) <= 2


def test_a_text_is_counted_in_tokens(cellstate, working_folder):
    (working_folder / "book.txt").write_text("to be or not to be, that is the question. " * 60)
    words = ["experiment=char_lm", "data.path=book.txt", "data.batch_size=4", "data.steps=16", "data.eval_streams=2"]
    answer = cellstate("train", *words, "trainer.max_epochs=1", "backbone.hidden_size=8", "report=false")
    assert answer.status == 0, answer.stderr
    assert re.search(r"[\d,.]+ tokens/s", answer.stderr)


def test_items_are_those_that_were_trained_on(cellstate, monkeypatch):
    marks, mark = [], Pace.mark
    monkeypatch.setattr(Pace, "mark", lambda pace, step, items: (marks.append((step, items)), mark(pace, step, items)))
    cellstate("train", *SMALL, "data.batch_size=24", "trainer.max_epochs=2")
    assert dict(marks) == {1: 24, 2: 48, 3: 64, 4: 88, 5: 112, 6: 128}, "64 samples an epoch, the last batch smaller"


def test_a_run_that_goes_on_shows_the_best_from_before(cellstate, working_folder, monkeypatch, capfd):
    def kill(keeper, trainer, *arguments):
        batch_end(keeper, trainer, *arguments)
        if trainer.global_step == 12:
            raise RunError("killed")

    batch_end = Checkpoints.on_train_batch_end
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", kill)
        words = [*SMALL, "trainer.max_epochs=3", "checkpoint.every_n_steps=1", "hydra.run.dir=run"]
        assert cellstate("train", *words).status == 1
    best = float(rows_of(working_folder / "run")[0]["val/loss"])
    capfd.readouterr()
    resume(working_folder / "run", quiet=False)
    first = lines_of(capfd.readouterr().err)[0]
    assert LINE.match(first).groups() == ("2", "3", "13", "24")
    assert f"val/loss {best:.4f}  best {best:.4f} (epoch 1)" in first
    assert "left" not in first, "nothing of this process was timed yet"


def test_nothing_is_displayed_where_quiet_is_asked_for(cellstate):
    assert cellstate("train", *SMALL, "trainer.max_epochs=1", "quiet=true").stderr == ""
