"""When two jobs are one, when two commands are one sweep, and what both are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from cellstate.config.compose import compose
from cellstate.config.explain import explain
from cellstate.errors import RequestError
from cellstate.sweep.identity import group_key, job_key, overrides_of, repetition
from cellstate.sweep.naming import job_name, labels, sweep_name


def key(*words: str) -> str:
    return job_key(compose("train", words)[0])


def group(*words: str) -> str:
    return group_key(compose("train", words)[0])


def name(*words: str, given: Any = None) -> str:
    return sweep_name(given, OverridesParser.create().parse_overrides(list(words)), "pattern")


def test_a_job_is_what_it_trains_whatever_words_led_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    usual = key()
    assert key("experiment=pattern", "backbone=lstm", "seed=0") == usual  # defaults, spelled out
    assert key("optimizer.lr=1e-2") == key("optimizer.lr=0.01") == key("data.length=20", "optimizer.lr=0.01")
    told = ["quiet=true", "report=false", "resume=auto", "checkpoint.every_n_steps=5", "sweep.name=mine"]
    assert key(*told) == usual
    changes = ["seed=1", "backbone=gru", "data.length=21", "trainer.max_epochs=2", "callbacks.early_stopping=null"]
    assert len({usual, *map(key, changes)}) == 1 + len(changes)
    assert key("experiment=char_lm", "data.path=book.txt") == key(
        "experiment=char_lm", f"data.path={tmp_path / 'book.txt'}"
    )


def test_the_config_that_a_run_keeps_is_that_of_its_job(tmp_path: Path) -> None:
    config, _ = compose("train", ["seed=3"])
    OmegaConf.save(config, tmp_path / "config.yaml", resolve=True)
    kept = OmegaConf.load(tmp_path / "config.yaml")
    assert job_key(kept) == job_key(config)  # type: ignore[arg-type]


def test_a_config_that_refers_to_what_is_not_there_is_a_job_too() -> None:
    assert key("data.length=${nowhere}") != key()


def test_seeds_and_folds_repeat_one_experiment() -> None:
    assert group("seed=1") == group("seed=2") == group()
    assert group("backbone=gru") != group()
    folds = ["experiment=next_state", "data.folds=7"]
    assert group(*folds, "data.fold=1") == group(*folds, "data.fold=6", "seed=4")
    assert group(*folds) != group("experiment=next_state")
    assert repetition(compose("train", [*folds, "data.fold=1"])[0]) == {"seed": 0, "data.fold": 1}
    assert repetition(compose("train", ["seed=5"])[0]) == {"seed": 5}


def test_a_sweep_is_found_again_by_the_command_that_made_it() -> None:
    usual = name("experiment=pattern", "backbone=rnn,lstm", "seed=range(5)")
    assert usual == "pattern_backbone"
    assert name("backbone=rnn,lstm", "seed=range(5)") == usual  # the default experiment
    assert name("seed=0", "backbone=rnn,lstm,gru", "quiet=true", "report=false") == usual  # more values, other seeds
    assert name("backbone=rnn,lstm", "data.length=50") == "pattern_backbone_data.length-50"
    assert name("backbone=rnn,lstm", "data.length=60") != name("backbone=rnn,lstm", "data.length=50")
    assert name("experiment=pattern,adding", "seed=0,1") == "experiment"
    assert name("seed=0,1") == "pattern"
    assert name("backbone=rnn,lstm", given="mine") == "mine"


def test_a_long_command_makes_a_name_of_bounded_length_and_of_its_own() -> None:
    words = [f"data.{key}=100" for key in ("train_size", "val_size", "test_size", "length", "batch_size")]
    long, other = name("backbone=rnn,lstm", *words), name("backbone=rnn,lstm", *words[:-1], "data.batch_size=101")
    assert long.startswith("pattern_backbone_")
    assert len(long) < 80
    assert long != other


@pytest.mark.parametrize("given", ["a/b", "..", "a b", ""])
def test_a_name_that_is_no_folder_is_refused(given: str) -> None:
    with pytest.raises(RequestError, match=r"sweep\.name"):
        name("seed=0,1", given=given)


def test_a_jobs_folder_has_a_readable_name_that_no_shell_and_no_override_mistakes() -> None:
    words = ["seed=3", "backbone=gru", "optimizer.lr=0.01", "data.path='texts/my book, 2.txt'", "data.split=[0.5,0.5]"]
    overrides = overrides_of(words)
    told = job_name(overrides, overrides, "0123456789")
    assert told == "gru_lr-0.01_my-book-2.txt_split-0.5-0.5_seed-3_0123456789"
    parsed = OverridesParser.create().parse_override(f"checkpoint=outputs/sweeps/mine/{told}")
    assert parsed.value() == f"outputs/sweeps/mine/{told}"
    assert job_name({}, [], "0123456789") == "0123456789"


def test_jobs_are_called_by_what_they_do_not_share() -> None:
    commands = [["seed=0", "backbone=gru", "report=false"], ["backbone=lstm", "seed=0", "report=false"]]
    assert labels([{"overrides": overrides_of(words)} for words in commands]) == ["backbone=gru", "backbone=lstm"]
    removed = [{"overrides": overrides_of(["~callbacks.early_stopping", "+trainer.fast_dev_run=true"])}]
    assert labels(removed) == ["~callbacks.early_stopping trainer.fast_dev_run=true"]


def test_a_launcher_that_is_not_installed_is_told_with_its_extra() -> None:
    missing = MissingConfigException("", missing_cfg_file="hydra/launcher/joblib", options=["basic"])
    error = explain(missing, "train", [])
    assert str(error) == "hydra/launcher=joblib: is not installed; pip install 'cellstate[joblib]'"
