"""``cellstate report``: the page of a run written anew, that of a sweep, and requests that cannot be met."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import TINY, Command
from tests.sweeps import job, write_sweep

from cellstate.cli import dispatch
from cellstate.data import SequenceData
from cellstate.scoring import rebuild, session

RUN = Path("outputs/run")


@pytest.fixture
def trained(train: Command) -> Path:
    """A run on the smallest pattern task, with its page."""
    assert train("report=true", f"hydra.run.dir={RUN}").status == 0
    return RUN


def test_the_page_of_a_run_written_anew_is_the_one_that_the_run_wrote(cellstate: Command, trained: Path) -> None:
    page, figures = trained / "report.html", sorted((trained / "figures").iterdir())
    before = {file: file.read_bytes() for file in (page, *figures)}
    page.unlink()
    (trained / "figures" / "of_an_older_version.png").write_bytes(b"")
    answer = cellstate("report", str(trained))
    assert (answer.status, answer.errors, answer.stdout.split()) == (0, [], [str(page)])
    assert {file: file.read_bytes() for file in before} == before
    assert sorted((trained / "figures").iterdir()) == figures


def test_a_run_that_left_its_test_split_alone_has_a_page_that_does_so_too(
    cellstate: Command, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = trained / "metrics.json"
    metrics = json.loads(file.read_text())
    secret = metrics["test"]
    file.write_text(json.dumps({**metrics, "test": {}, "reference": {}}))

    class Locked(dict):
        def __getitem__(self, split: str) -> object:
            assert split != "test", "the test split was read"
            return super().__getitem__(split)

    def read(content: dict, **options: object) -> SequenceData:
        data = rebuild.read_data(content, **options)  # pyright: ignore[reportArgumentType]
        _ = data.fingerprint, data.split_record  # which are of all splits
        data.prepared = replace(data.prepared, splits=Locked(data.prepared.splits))
        return data

    monkeypatch.setattr(session, "read_data", read)
    assert cellstate("report", str(trained)).status == 0
    text = (trained / "report.html").read_text()
    assert "The test split is locked" in text
    assert "val split" in text
    assert "test split</div>" not in text
    assert f'value="{secret["loss"]}"' not in text


def test_what_stood_on_the_command_line_is_told_with_the_values_it_changed(trained: Path) -> None:
    text = (trained / "report.html").read_text()
    assert "PatternData" in text
    assert '<code class="setting changed">train_size=64</code>' in text
    assert '<code class="setting">length=20</code>' in text
    for word in TINY:
        assert f"<code>{word}</code>" in text


def test_words_with_special_characters_are_taken_as_they_stand(
    cellstate: Command, trained: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "a run, of [mine] = {1}"
    trained.rename(moved)
    assert cellstate("report", f"folder={moved}").status == 0
    assert cellstate("report", f"./{moved.name}").status == 2  # "=" makes it a key
    plain = moved.rename(tmp_path / "a run, of [mine]")
    assert cellstate("report", f"./{plain.name}").status == 0


@pytest.mark.parametrize(
    ("prepare", "words", "said"),
    [
        (lambda _: None, [], "folder: required: folder of a run"),
        (lambda _: None, ["no/such"], "no/such: no such folder"),
        (lambda place: place.mkdir(), ["there"], "neither a run"),
        (lambda place: unfinished(place), ["there"], "the run is not completed (status: interrupted)"),
        (lambda place: broken(place, "{"), ["there"], "is not a valid list of a sweep's jobs"),
        (lambda place: broken(place, '{"jobs": [1], "groups": []}'), ["there"], "is not a valid list"),
        (lambda place: broken(place, '{"jobs": [{}], "groups": []}'), ["there"], "is not a valid list"),
        (lambda place: write_sweep(place, [job({}, val={"loss": 1.0})]), ["there", "metric=val/los"], "'val/loss'"),
        (
            lambda place: write_sweep(place, [job({}, val={"loss": 1.0})]),
            ["there", "metric=test/loss"],
            "not a metric of these jobs",
        ),
        (lambda place: write_sweep(place, []), ["there", "data.path=x"], "only available for a run"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(cellstate: Command, tmp_path, prepare, words, said) -> None:
    prepare(tmp_path / "there")
    answer = cellstate("report", *words)
    assert (answer.status, len(answer.errors)) == (2, 1)
    assert said in answer.stderr
    assert not (tmp_path / "there" / "report.html").exists()


def unfinished(place: Path) -> None:
    place.mkdir()
    (place / "manifest.json").write_text(json.dumps({"status": "interrupted"}))


def broken(place: Path, content: str) -> None:
    place.mkdir()
    (place / "sweep.json").write_text(content)


def test_folders_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (tmp_path / "outputs" / "sweeps" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for line, wanted in (
        ("cellstate report outputs/sw", "outputs/sweeps/"),
        ("cellstate report folder=outputs/sweeps/m", "folder=outputs/sweeps/mine/"),
        ("cellstate rep", "report"),
    ):
        monkeypatch.setenv("COMP_LINE", line)
        assert dispatch(["-sc", "query=bash"]) == 0
        assert capsys.readouterr().out.split() == [wanted]


def test_drawing_is_loaded_only_where_a_page_is_written() -> None:
    modules = "cellstate.report, cellstate.report.rebuild, cellstate.commands.report, cellstate.report.configuration"
    heavy = "{'matplotlib', 'optuna', 'torch', 'jinja2'}"
    code = f"import sys, {modules}; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
