"""A locked test split cannot be read: not by a multirun, nor by a single run that is told to leave it alone."""

from __future__ import annotations

import csv
import gc
import json
import math
import weakref
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tests.conftest import TINY, Command, every_third, series_rows, slow, write_csv

import cellstate as package
from cellstate import checkpoint
from cellstate.callbacks import Checkpoints
from cellstate.checkpoint.weights import weights_digest
from cellstate.config.compose import compose
from cellstate.config.paths import config_folder
from cellstate.data import AddingData, LabelledData, PatternData, SeasonalData, SequenceData, SineData, StatesData
from cellstate.data.datamodule import Prepared
from cellstate.errors import RequestError

EXPERIMENTS = sorted(file.stem for file in (config_folder() / "experiment").glob("*.yaml"))
# The test split that the experiment does not have by itself, or in another way.
MORE = {
    "char_lm": [["data.split=[0.8,0.1,0.1]", "data.eval_streams=4"]],
    "next_state": [[], ["data.folds=5", "data.fold=2"]],
}
SMALL = {
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 2,
    "trainer.limit_val_batches": 1,
    "backbone.hidden_size": 8,
    "data.train_size": 128,
    "data.val_size": 64,
    "data.test_size": 64,
}


def scores(folder: str | Path) -> dict[str, Any]:
    metrics = json.loads((Path(folder) / "metrics.json").read_text())
    return {key: value for key, value in metrics.items() if key != "seconds"}


def looks(path: str = "outputs/ledger.csv") -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------------- nothing reads it


class Trap:
    """Stands where the test samples are. It may be counted and hashed, as a fingerprint gives nothing of them away."""

    def __init__(self, samples: Any) -> None:
        self.__dict__["inner"] = samples

    def __len__(self) -> int:
        return len(self.inner)

    def update_digest(self, digest: Any) -> None:
        self.inner.update_digest(digest)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the test split was read: {name}")


def closed(name: str) -> Any:
    """Refuse to draw samples of the test split, once the splits are drawn."""
    original = getattr

    def bound(data: Any) -> Any:
        function = original(type(data), name)

        def draw(split: str, *arguments: Any) -> Any:
            assert split != "test", "the test split was drawn"
            return function(data, split, *arguments)

        return draw

    return bound


@pytest.fixture
def trapped(monkeypatch: pytest.MonkeyPatch) -> list[SequenceData]:
    """Put traps in the place of all that any data holds of its test split; return the data that was read."""
    original, read = SequenceData.__dict__["prepared"].func, []

    def prepared(data: Any) -> Prepared:
        found = original(data)
        assert "test" in found.splits
        data.__dict__.update({name: closed(name)(data) for name in ("draw", "_waves") if hasattr(data, name)})
        if hasattr(data, "_values"):
            data._values["test"] = Trap(data._values["test"])
        if hasattr(data, "_windows"):
            series, last = data._windows.series, data._windows.borders[:, 2]
            poisoned = {}
            for name in ("values", "noise", "covariates"):
                whole = getattr(series, name)
                if whole is not None:
                    poisoned[name] = whole.copy()
                    for first, size, kept in zip(series.firsts, series.sizes, last, strict=True):
                        poisoned[name][first + kept : first + size] = np.nan
            data._windows = replace(data._windows, series=replace(series, **poisoned))
        read.append(data)
        return replace(found, splits={**found.splits, "test": Trap(found.splits["test"])})

    trap = cached_property(prepared)
    trap.__set_name__(SequenceData, "prepared")
    monkeypatch.setattr(SequenceData, "prepared", trap)
    return read


def numbers(value: Any) -> Iterator[float]:
    """Yield all numbers in nested dictionaries."""
    if isinstance(value, dict):
        for part in value.values():
            yield from numbers(part)
    elif isinstance(value, float):
        yield value


@pytest.mark.parametrize(
    ("experiment", "words"),
    every_third([(name, words) for name in EXPERIMENTS for words in MORE.get(name, [[]])], 1),
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_nothing_reads_it_in_a_locked_run(
    experiment: str, words: list[str], working_folder: Path, trapped: list[SequenceData]
) -> None:
    """Fingerprinting excepted, which is a hash of all splits that is taken before the lock."""
    config, _ = compose("train", [f"experiment={experiment}"])
    small = [f"{key}={value}" for key, value in SMALL.items() if OmegaConf.select(config, key) is not None]
    run = package.train([f"experiment={experiment}", *small, *words, "test=false", "hydra.run.dir=run"])
    assert len(trapped) == 1
    assert run.metrics["test"] == {}
    assert run.data.reported_split == "val"
    assert list(numbers(run.metrics["reference"]))
    assert all(math.isfinite(number) for number in numbers(run.metrics["reference"]))
    assert "The test split is locked" in (working_folder / "run" / "report.html").read_text()
    assert not Path("outputs").exists()
    record = checkpoint.read(run.checkpoint)[checkpoint.KEY]
    assert record["test_locked"] is True
    assert record["split"]["samples"]["test"] > 0  # that it is there is known


def test_the_trap_catches_a_run_that_is_not_locked(working_folder: Path, trapped: list[SequenceData]) -> None:  # noqa: ARG001
    with pytest.raises(AssertionError):
        package.train(["experiment=pattern", *TINY])


@pytest.mark.parametrize(
    "data",
    [PatternData(), AddingData(), SineData(), SeasonalData(), StatesData(folds=4), LabelledData()],
    ids=lambda data: type(data).__name__,
)
def test_locked_samples_are_gone_and_asking_for_them_says_why(data: SequenceData) -> None:
    fingerprint = type(data)(**({"folds": 4} if isinstance(data, StatesData) else {})).fingerprint
    samples: Any = data.prepared.splits["test"]
    alive = weakref.ref(samples)
    del samples
    data.lock_test()
    gc.collect()
    assert alive() is None
    assert sorted(data.prepared.splits) == ["train", "val"]
    assert data.fingerprint == fingerprint
    with pytest.raises(RequestError, match=r"the test split is locked \(test=false\).*cellstate evaluate checkpoint="):
        data.prepared.splits["test"]
    assert data.test_dataloader() == []


def test_what_reads_a_split_by_name_is_refused_too() -> None:
    for data in (AddingData(), SineData()):
        data.lock_test()
        with pytest.raises(RequestError, match="locked"):
            data.values("test")
    waves = SineData()
    waves.lock_test()
    with pytest.raises(RequestError, match="locked"):
        waves.waves("test")


def test_a_locked_series_ends_where_validation_ends() -> None:
    data, whole = SeasonalData(), SeasonalData()
    data.lock_test()
    border = int(whole.windows.borders[0, 2])
    np.testing.assert_array_equal(data.whole_series.values, whole.whole_series.values[:border])
    assert data.whole_series.noise is not None
    assert len(data.whole_series.noise) == border < len(whole.whole_series.values)
    np.testing.assert_array_equal(data.windows.starts("val"), whole.windows.starts("val"))


# ---------------------------------------------------------------------- what it holds changes nothing


def write_series(path: Path, end: int) -> list[str]:
    rows = series_rows(400)
    write_csv(path, [*rows[:320], *(f"{row.split(',')[0]},{end * hour % 17}" for hour, row in enumerate(rows[320:]))])
    return ["experiment=series", f"data.path={path}", "data.window=24", "trainer.max_epochs=1"]


def write_text(path: Path, end: int) -> list[str]:
    path.write_text("the quick brown fox. " * 200 + ("jumps over " if end == 1 else "lazy dogs; ") * 50)
    words = ["data.split=[0.7,0.1,0.2]", "data.batch_size=8", "data.steps=16", "data.eval_streams=4"]
    return ["experiment=char_lm", f"data.path={path}", *words, "trainer.max_steps=4"]


def write_labelled(path: Path, end: int) -> list[str]:
    random = np.random.default_rng(0)
    for name, count, shift in ((path, 60, 0), (path.with_suffix(".test.ts"), 20, end)):
        lines = [f"{','.join(map(str, random.normal(row % 2, 1, 8) + shift))}:{'ab'[row % 2]}" for row in range(count)]
        header = "@problemName x\n@timeStamps false\n@univariate true\n@classLabel true a b\n@data\n"
        name.write_text(header + "\n".join(lines) + "\n")
    paths = [f"data.path={path}", f"data.test_path={path.with_suffix('.test.ts')}"]
    return ["experiment=labelled", *paths, "data.split=[0.8,0.2,0]", "trainer.max_epochs=2"]


@pytest.mark.parametrize(
    ("write", "name"),
    [(write_series, "load.csv"), *slow((write_text, "book.txt"), (write_labelled, "walks.ts"))],
)
def test_a_locked_run_ends_the_same_whatever_the_test_split_holds(write: Any, name: str, working_folder: Path) -> None:
    found = []
    for locked in ("false", "true"):
        for end in (1, 2):
            words = write(working_folder / name, end)
            folder = f"{locked}{end}"
            common = ["backbone.hidden_size=8", "report=false", f"test={locked}", f"hydra.run.dir={folder}"]
            run = package.train([*words, *common])
            found.append((scores(folder), weights_digest(run.model.state_dict()), run.metrics["test"]))
    (one, same, none), (other, same_too, _), (_, _, first), (_, _, second) = found
    assert none == {}
    assert (one, same) == (other, same_too)
    assert first != second  # else the files were alike


# ---------------------------------------------------------------------- multiruns, and what follows them


@pytest.fixture
def train(cellstate: Command) -> Command:
    return lambda *words: cellstate("train", "experiment=pattern", *TINY, *words)


def test_every_job_of_a_multirun_is_locked_and_the_one_chosen_is_scored_afterwards(
    train: Command, cellstate: Command
) -> None:
    answer = train("-m", "seed=0,1", "data.val_size=31", "hydra.sweep.dir=sweep")
    assert answer.status == 0
    assert "looked at" not in answer.stdout
    assert not Path("outputs/ledger.csv").exists()
    jobs = sorted(path.parent for path in Path("sweep").glob("*/metrics.json"))
    assert len(jobs) == 2
    for job in jobs:
        assert scores(job)["test"] == {}
        assert OmegaConf.load(job / "config.yaml").test is False

    assert train("seed=1", "data.val_size=31", "hydra.run.dir=open").status == 0
    (chosen,) = (job for job in jobs if scores(job)["seed"] == 1)
    open_run, locked_run = scores("open"), scores(chosen)
    assert locked_run["val"] == open_run["val"]
    answer = cellstate("evaluate", f"checkpoint={chosen}")
    assert answer.status == 0
    assert "reproduced: 4 of 4 metrics identical" in answer.stdout
    assert "test split was locked in training" in answer.stdout
    evaluation = package.evaluate(chosen)
    assert evaluation.metrics["test"] == open_run["test"]
    assert evaluation.reference == open_run["reference"] != locked_run["reference"]
    lines = looks()
    assert [(row["command"], row["looks"]) for row in lines] == [("train", "1"), ("evaluate", "2"), ("evaluate", "3")]
    assert len({row["fingerprint"] for row in lines}) == 1
    assert len({row["weights"] for row in lines}) == 1


@pytest.mark.parametrize(
    "words", [("test=true", "-m"), ("-m", "test=true,false"), ("hydra.mode=MULTIRUN", "test=true")]
)
def test_a_multirun_that_asks_for_the_test_split_is_refused_in_one_line(train: Command, words: tuple[str, ...]) -> None:
    answer = train(*words, "hydra.sweep.dir=sweep")
    assert answer.status == 2
    (line,) = [line for line in answer.errors if "error" in line]
    assert "the test split is locked in a multirun" in line
    assert "cellstate evaluate checkpoint=FOLDER" in line
    assert not list(Path().rglob("metrics.json"))


def test_an_experiment_of_ones_own_cannot_open_it_either(train: Command) -> None:
    folder = Path("mine/experiment")
    folder.mkdir(parents=True)
    (folder / "curious.yaml").write_text("# @package _global_\ndefaults:\n  - pattern\ntest: true\n")
    answer = train("experiment=curious", "--config-dir", "mine", "-m", "seed=0", "hydra.sweep.dir=sweep")
    assert answer.status == 0, answer.stderr
    (job,) = Path("sweep").glob("*/metrics.json")
    assert scores(job.parent)["test"] == {}


def test_a_run_that_goes_on_stays_locked(train: Command, cellstate: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Checkpoints.on_train_batch_end

    def ending(self: Checkpoints, trainer: Any, *arguments: Any) -> None:
        original(self, trainer, *arguments)
        if trainer.global_step == 2:
            self._save_last(trainer)
            raise MemoryError("stopped")

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", ending)
    assert train("test=false", "hydra.run.dir=run", "data.batch_size=16").status == 1
    monkeypatch.setattr(Checkpoints, "on_train_batch_end", original)
    assert cellstate("train", "run=run").status == 0
    assert scores("run")["test"] == {}
    assert not Path("outputs/ledger.csv").exists()


# ---------------------------------------------------------------------- looks are on record


def test_a_run_that_was_killed_leaves_a_line_for_each_time_that_it_scored_the_test_split(
    train: Command, cellstate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellstate.training import run as experiment

    original = experiment.collect
    monkeypatch.setattr(experiment, "collect", lambda *_, **__: (_ for _ in ()).throw(MemoryError("killed")))
    with pytest.raises(MemoryError):
        train("hydra.run.dir=run")
    monkeypatch.setattr(experiment, "collect", original)
    answer = cellstate("train", "run=run")
    assert answer.status == 0
    assert "Test split evaluated 2 times (outputs/ledger.csv)." in answer.stdout
    assert [row["looks"] for row in looks()] == ["1", "2"]
    assert json.loads(looks()[1]["metrics"]) == scores("run")["test"]


def test_a_backtest_over_the_test_split_is_a_look_and_one_over_ones_own_series_is_not(working_folder: Path) -> None:
    words = [*write_series(working_folder / "load.csv", 1), "backbone.hidden_size=8", "report=false"]
    run = package.train([*words, "hydra.run.dir=run"])
    package.backtest(run.folder)
    package.backtest(run.model, run.data)
    package.backtest(run.model, np.arange(100.0))
    locked = package.train([*words, "test=false", "hydra.run.dir=locked"])
    package.backtest(locked.model, locked.data)
    lines = looks()
    assert [(row["command"], row["looks"]) for row in lines] == [("train", "1"), ("backtest", "2"), ("backtest", "3")]
    assert {row["source"] for row in lines} == {str(working_folder / "load.csv")}
    assert len({row["weights"] for row in lines}) == 1
    assert [row["experiment"] for row in lines] == ["series", "series", ""]


def test_scores_of_the_validation_split_alone_leave_no_line(train: Command, cellstate: Command) -> None:
    assert train("test=false", "hydra.run.dir=run").status == 0
    answer = cellstate("evaluate", "checkpoint=run", "test=false")
    assert "reproduced: 4 of 4 metrics identical" in answer.stdout
    words = ["trainer.max_steps=1", "backbone.hidden_size=4", "report=false", "hydra.run.dir=text"]
    package.train(["experiment=char_lm", *words])  # a text has no test split unless one is asked for
    assert not Path("outputs").exists()


@pytest.mark.parametrize("name", ["other.csv", "file/ledger.csv"])
def test_a_ledger_that_cannot_be_written_stops_it_before_anything_is_scored(
    train: Command, cellstate: Command, name: str
) -> None:
    assert train("hydra.run.dir=run").status == 0
    Path("other.csv").write_text("a,b\n")
    Path("file").write_text("")
    for answer in (train(f"ledger={name}"), cellstate("evaluate", "checkpoint=run", f"ledger={name}")):
        assert answer.status == 2
        (line,) = [line for line in answer.errors if "error" in line]
        assert line.startswith(f"cellstate: error: ledger={name}: ")
        assert "this run" not in answer.stdout
    assert not Path("outputs/runs").exists()
    assert Path("other.csv").read_text() == "a,b\n"


def test_the_sum_of_weights_tells_one_bit() -> None:
    weights = {"a": torch.zeros(3), "b": torch.ones((), dtype=torch.bfloat16)}
    assert weights_digest(weights) == weights_digest(dict(reversed(weights.items())))
    changed = {**weights, "a": torch.tensor([0.0, -0.0, 0.0])}
    assert weights_digest(changed) != weights_digest(weights)
