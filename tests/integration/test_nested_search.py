"""Nested searches: the fold that scores has no say in what is searched, pruned or picked, and no trial reads a test."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState
from tests.conftest import Answer, Command, slow
from tests.integration.test_locked_test_split import trapped
from tests.integration.test_search import PLACE, content, study

from cellstate.config.compose import compose
from cellstate.data import SequenceData, StatesData
from cellstate.data.files.states import shuffled
from cellstate.sweep.identity import job_key

FOLDS, SEQUENCES = 3, 30
WORDS = [
    *("-m", "experiment=next_state", "sweep=search", "sweep.nested=true", "sweep.n_trials=2", "data.path=states.txt"),
    *("data.folds=3", "optimizer.lr=tag(log,interval(1e-3,1e-1))", "sweep.sampler={name: tpe, n_startup_trials: 1}"),
    *("sweep.pruner={name: median, n_startup_trials: 1, n_warmup_steps: 1}", "backbone.hidden_size=4"),
    *("trainer.max_epochs=3", "data.batch_size=10", "report=false"),
]
Nested = Callable[..., Answer]

__all__ = ["trapped"]


def write_states(replaced: np.ndarray | None = None) -> None:
    """Write sequences of a cycle with noise; those in ``replaced`` hold other states in another order."""
    draw = np.random.default_rng(0)
    lines = []
    for number in range(SEQUENCES):
        states = (np.arange(12) + draw.integers(0, 4) + (draw.random(12) < 0.2)) % 4
        if replaced is not None and number in replaced:
            states = 3 - states[::-1] // 2
        lines.append(" ".join("abcd"[state] for state in states))
    Path("states.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def nested(cellstate: Command) -> Nested:
    """Run a nested search in ``outputs/sweeps/NAME``."""
    return lambda name, *words: cellstate("train", *WORDS, f"sweep.name={name}", "quiet=true", *words)


def load(file: Path) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(OmegaConf.load(file))
    return values


def trials(name: str, part: str) -> list[tuple[Any, ...]]:
    """What a search proposed, was told and kept."""
    found = study(Path("outputs/sweeps") / name, name + part).trials
    return [(one.params, one.state, one.values, one.intermediate_values) for one in found]


@pytest.mark.slow
@pytest.mark.parametrize("fold", [1])
def test_the_fold_that_scores_has_no_say_in_what_is_proposed_pruned_and_picked(fold: int, nested: Nested) -> None:
    """With other sequences in that fold, its search does the same to the last bit, and those of other folds do not."""
    number = shuffled(SEQUENCES, seed=0)[np.arange(SEQUENCES) % FOLDS == fold]
    write_states()
    assert nested("one").status == 0
    write_states(number)
    assert nested("other").status == 0
    assert trials("one", f"/fold-{fold}") == trials("other", f"/fold-{fold}")
    for other in {0, 1, 2} - {fold}:
        assert trials("one", f"/fold-{other}") != trials("other", f"/fold-{other}")
    assert trials("one", "") != trials("other", "")


def test_each_fold_is_left_out_once_looked_at_once_and_the_last_search_has_all_data(nested: Nested) -> None:
    write_states()
    answer = nested("mine", "sweep.score=true", "quiet=false")
    assert answer.status == 0, answer.stderr
    assert len(content()["search"]["trials"]) == len(content()["jobs"]) == 2 * (FOLDS + 1)
    scored: list[int] = []
    for part in [*(f"/fold-{fold}" for fold in range(FOLDS)), ""]:
        for trial in study(PLACE, f"mine{part}").trials:
            file = PLACE / trial.user_attrs["job"]["folder"] / "config.yaml"
            data = {key: value for key, value in load(file)["data"].items() if key != "_target_"}
            splits = StatesData(**data).prepared.splits
            sizes = {name: len(samples) for name, samples in splits.items()}
            assert sizes == ({"train": 10, "val": 10, "test": 10} if part else {"train": 20, "val": 10})
            scored += [data["fold"]] if part else []
    assert sorted(set(scored)) == [0, 1, 2]

    best = study(PLACE, "mine").best_trial
    config, _ = compose("train", ["experiment=best"], config_dir=PLACE)
    config.experiment = "next_state"
    assert job_key(config) == best.user_attrs["job"]["key"]

    scores = content()["search"]["scores"]
    assert list(scores) == ["0", "1", "2"]
    with Path("outputs/ledger.csv").open() as file:
        looks = list(csv.DictReader(file))
    assert [float(look["value"]) for look in looks] == [scores[fold]["test"][looks[0]["metric"]] for fold in scores]
    for fold, one in scores.items():  # what was picked is the best of its own search
        best = study(PLACE, f"mine/fold-{fold}").best_trial
        assert (one["trial"], one["picked"]) == (best.number, best.value)
    mean = sum(one["test"]["loss"] for one in scores.values()) / 3
    assert content()["search"]["estimate"]["loss"]["mean"] == pytest.approx(mean)
    assert f"{mean:.4f} ±" in answer.stdout

    assert nested("mine", "sweep.score=true").status == 0
    assert len(Path("outputs/ledger.csv").read_text().splitlines()) == 4
    assert content()["search"]["scores"] == scores


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["data.folds=null"], "sweep.nested=true: searches once for each fold, but data.folds=null"),
        (["data.fold=1"], "data.fold: is set by the nested search"),
        (["sweep.nested=false", "sweep.score=true"], "sweep.score=true: requires sweep.nested=true"),
    ],
)
def test_folds_that_cannot_be_left_out_are_refused(nested: Nested, words: list[str], error: str) -> None:
    write_states()
    answer = nested("mine", *words)
    assert answer.status == 2
    assert answer.errors[0].startswith(f"cellstate: error: {error}")
    assert not Path("outputs").exists()


@pytest.mark.parametrize("count", [3, *slow(20)])
def test_trials_never_read_the_test_split(count: int, train: Command, trapped: list[SequenceData]) -> None:
    """The traps are where the test samples were, in the data of each trial; anything that looks at one raises."""
    words = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "trainer.limit_train_batches=1", "quiet=true"]
    words += ["sweep.name=mine", f"sweep.n_trials={count}", "sweep.pruner=median"]
    assert train("-m", "sweep=search", *words).status == 0
    states = [trial.state for trial in optuna.load_study(**place()).trials]
    assert len(states) == count
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert len(trapped) == count + 1  # one is read before the first trial, to see whether that can be
    assert all(data.test_locked and "test" not in data.prepared.splits for data in trapped)
    assert not Path("outputs/ledger.csv").exists()
    for file in PLACE.glob("*/metrics.json"):
        assert json.loads(file.read_text())["test"] == {}


def place() -> dict[str, Any]:
    from cellstate.sweep.search.storage import open_storage

    return {"storage": open_storage(str(PLACE / "study.journal")), "study_name": "mine"}
