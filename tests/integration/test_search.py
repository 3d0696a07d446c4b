"""Searches: trials are proposed, run once each, pruned, told, and the best comes back as an experiment."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState
from tests.conftest import Answer, Command, series_rows, slow, write_csv

from cellstate.config.compose import compose
from cellstate.sweep.identity import job_key
from cellstate.sweep.search.settings import SAMPLERS
from cellstate.sweep.search.storage import open_storage
from cellstate.sweep.search.study import Study

Search = Callable[..., Answer]
PLACE = Path("outputs/sweeps/mine")
RATES = "optimizer.lr=tag(log,interval(1e-4,1e-1))"


@pytest.fixture
def search(train: Command) -> Search:
    """Run a search on the smallest pattern task, in ``outputs/sweeps/mine``."""
    return lambda *words: train("-m", "sweep=search", "sweep.name=mine", "quiet=true", *words)


def study(place: Path = PLACE, name: str | None = None) -> optuna.Study:
    """The study as Optuna itself sees it."""
    return optuna.load_study(storage=open_storage(str(place / "study.journal")), study_name=name or place.name)


def content(place: Path = PLACE) -> dict[str, Any]:
    return json.loads((place / "sweep.json").read_text())


def proposed(place: Path = PLACE) -> list[dict[str, Any]]:
    return [trial.params for trial in study(place).trials]


# ---------------------------------------------------------------------- once each


def test_a_search_ends_with_its_trials_and_repeated_does_nothing(search: Search, trained: list[str]) -> None:
    answer = search(RATES, "backbone=gru,rnn", "sweep.n_trials=3")
    assert answer.status == 0, answer.stderr
    trials = study().trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    jobs = {row["folder"]: row for row in content()["jobs"]}
    assert sorted(trained) == sorted(jobs)
    for trial in trials:  # what was told is what the run reached, and the run is what was proposed
        folder = PLACE / trial.user_attrs["job"]["folder"]
        metrics = json.loads((folder / "metrics.json").read_text())
        config: Any = OmegaConf.load(folder / "config.yaml")
        assert trial.value == metrics["best"]["value"] == metrics["val"]["loss"]
        assert config.optimizer.lr == trial.params["optimizer.lr"]
        assert config.backbone._target_.lower().endswith(trial.params["backbone"])
        assert 1e-4 <= trial.params["optimizer.lr"] <= 1e-1

    trained.clear()
    assert search(RATES, "backbone=gru,rnn", "sweep.n_trials=3").status == 0
    assert (trained, len(study().trials)) == ([], 3)
    assert search(RATES, "backbone=gru,rnn", "sweep.n_trials=4").status == 0  # a total, not so many more
    assert (len(trained), len(study().trials)) == (1, 4)


@pytest.mark.slow
def test_the_same_seed_proposes_the_same_trials_and_another_one_others(train: Command) -> None:
    words = ["-m", "sweep=search", RATES, "model.dropout=interval(0.0,0.5)", "sweep.n_trials=3", "quiet=true"]
    tpe = "sweep.sampler={name: tpe, n_startup_trials: 2}"
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        assert train(*words, tpe, f"sweep.name={name}", f"sweep.seed={seed}").status == 0
    one, again, other = (study(Path("outputs/sweeps") / name) for name in ("one", "again", "other"))
    assert [trial.params for trial in one.trials] == [trial.params for trial in again.trials]
    assert [trial.value for trial in one.trials] == [trial.value for trial in again.trials]
    assert all(a.params != b.params for a, b in zip(one.trials, other.trials, strict=True))


def test_a_trial_that_is_proposed_twice_is_run_once(search: Search, trained: list[str]) -> None:
    assert search("backbone.hidden_size=4,8", "sweep.n_trials=6", "sweep.sampler=random").status == 0
    trials = study().trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert len(trained) == len(content()["jobs"]) == 2
    by_size = {(trial.params["backbone.hidden_size"], trial.value) for trial in trials}
    assert len(by_size) == 2


@pytest.mark.parametrize("after", [1, *slow(0)])
def test_a_search_killed_while_it_proposes_goes_on_with_the_very_same_trial(
    after: int, search: Search, train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [RATES, "model.dropout=interval(0.0,0.5)", "sweep.n_trials=3"]
    assert train("-m", "sweep=search", "sweep.name=whole", "quiet=true", *words).status == 0

    suggest, drawn = optuna.trial.Trial._suggest, []

    def killed(self: Any, *parts: Any) -> Any:  # after so many values of the third trial
        if self.number == 2 and len(drawn) == after:
            raise KeyboardInterrupt
        drawn.extend([self.number] if self.number == 2 else [])
        return suggest(self, *parts)

    monkeypatch.setattr(optuna.trial.Trial, "_suggest", killed)
    answer = search(*words)
    assert answer.status == 1
    assert "interrupted with 2 of 3 trials finished, 1 started; repeat the command to resume" in answer.stderr
    monkeypatch.setattr(optuna.trial.Trial, "_suggest", suggest)
    assert search(*words).status == 0
    assert proposed() == proposed(Path("outputs/sweeps/whole"))


@pytest.mark.slow
def test_a_last_line_that_a_kill_tore_is_cut_off(search: Search, trained: list[str]) -> None:
    assert search(RATES, "sweep.n_trials=2").status == 0
    before = proposed()
    journal = PLACE / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"worker_id":"0","stu')
    assert search(RATES, "sweep.n_trials=3").status == 0
    assert len(trained) == 3
    assert proposed()[:2] == before
    assert journal.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in journal.read_text().splitlines())


@pytest.mark.slow
def test_a_study_in_a_database_is_shared_by_folders_that_do_not_know_each_other(train: Command) -> None:
    """As machines without a common file system have them: the total is the study's, and each runs its own trials."""
    pytest.importorskip("sqlalchemy")
    words = ["-m", "sweep=search", "sweep.name=mine", "sweep.storage=sqlite:///study.db", "quiet=true", RATES]
    assert train(*words, "hydra.sweep.dir=here", "sweep.n_trials=2").status == 0
    assert train(*words, "hydra.sweep.dir=there", "sweep.n_trials=3").status == 0
    found = optuna.load_study(storage="sqlite:///study.db", study_name="mine").trials
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 3
    assert [len(content(Path(place))["jobs"]) for place in ("here", "there")] == [2, 1]
    assert not list(Path("here").glob("*.journal"))


# ---------------------------------------------------------------------- pruning and failing


@pytest.mark.slow
def test_the_median_pruner_ends_what_cannot_learn_and_what_can_goes_on(search: Search, cellstate: Command) -> None:
    """By theory: a rate of 1e-9 leaves the loss at chance, where every validation of one that learns is better."""
    words = ["optimizer.lr=0.03,1e-9", "sweep.sampler=random", "sweep.pruner={name: median, n_startup_trials: 1}"]
    longer = ["trainer.max_epochs=8", "data.train_size=256", "callbacks.early_stopping=null", "sweep.seed=3"]
    assert search(*words, *longer, "sweep.n_trials=8").status == 0
    states = {(trial.params["optimizer.lr"], trial.state) for trial in study().trials[1:]}
    assert study().trials[0].params["optimizer.lr"] == 0.03
    assert states == {(0.03, TrialState.COMPLETE), (1e-9, TrialState.PRUNED)}
    (row,) = [row for row in content()["jobs"] if row["status"] == "pruned"]
    folder = PLACE / row["folder"]
    with (folder / "metrics.csv").open() as file:
        validations = list(csv.DictReader(file))
    pruned = next(trial for trial in study().trials if trial.state == TrialState.PRUNED)
    reported = [pruned.intermediate_values[place] for place in range(1, len(pruned.intermediate_values) + 1)]
    assert reported == [float(line["val/loss"]) for line in validations]
    assert len(validations) < 8
    assert row["reason"] == f"after validation {len(validations)}: val/loss {reported[-1]:.4g}"
    answer = cellstate("evaluate", f"checkpoint={folder}", "test=false")  # it is whole, and can be gone on with
    assert answer.status == 0, answer.stderr
    answer = cellstate("train", f"run={folder}")
    assert answer.status == 0, answer.stderr
    assert json.loads((folder / "metrics.json").read_text())["epochs"] == 8


def test_a_trial_without_a_number_is_a_failed_trial_and_not_the_end(search: Search, trained: list[str]) -> None:
    words = ["optimizer.lr=1e39,0.01", "sweep.sampler=random", "sweep.n_trials=5", "trainer.max_epochs=3"]
    answer = search(*words)
    states = [trial.state for trial in study().trials]
    failed = states.count(TrialState.FAIL)
    assert 0 < failed < 5
    assert states.count(TrialState.COMPLETE) == 5 - failed
    assert answer.status == 1
    assert failed > 1
    (line,) = answer.errors  # of one reason
    assert f"{failed} trials, first trial " in line
    assert "optimizer.lr=1e+39" not in answer.stderr  # by its last part, as nothing else ends so
    assert "(lr=1e+39): the validation loss became nan" in answer.stderr
    assert all("became nan" in one.user_attrs["reason"] for one in study().trials if one.state == TrialState.FAIL)
    assert math.isfinite(study().best_value)

    trained.clear()
    assert search(*words).status == 1  # they have failed, and are not tried again
    assert (trained, len(study().trials)) == ([], 5)


def test_a_search_whose_trials_are_all_refused_is_given_up(search: Search) -> None:
    answer = search(RATES, "trainer.accelerator=tpu", "sweep.n_trials=20")
    assert answer.status == 2
    assert len(study().trials) == 3
    assert answer.errors[-1] == ("cellstate: error: the first 3 trials were rejected: fix what they have in common")
    assert "3 trials, first trial 0" in answer.errors[0]
    assert "trainer: " in answer.errors[0]


@pytest.mark.slow
def test_a_full_disk_is_not_the_fault_of_a_trial(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    from cellstate.errors import not_written
    from cellstate.runs.folder import RunFolder

    write = RunFolder.write_json

    def full(self: RunFolder, name: str, content: dict[str, Any]) -> None:
        if name == "metrics.json":
            raise not_written(self.path / name, OSError(28, "No space left on device"))
        write(self, name, content)

    monkeypatch.setattr(RunFolder, "write_json", full)
    answer = search(RATES, "sweep.n_trials=3")
    assert answer.status == 1
    assert "No space left on device" in answer.stderr
    assert [trial.state for trial in study().trials] == [TrialState.RUNNING]
    monkeypatch.setattr(RunFolder, "write_json", write)
    assert search(RATES, "sweep.n_trials=3").status == 0
    assert [trial.state for trial in study().trials] == [TrialState.COMPLETE] * 3


# ---------------------------------------------------------------------- the space


def test_a_space_of_ones_own_with_conditions_lies_in_ones_own_folder(train: Command) -> None:
    Path("mine/sweep").mkdir(parents=True)
    Path("mine/sweep/deep.yaml").write_text(
        "# @package _global_\ndefaults:\n  - search\nsweep:\n  n_trials: 5\n  sampler: random\n  space:\n"
        "    optimizer:\n      lr: {low: 1e-3, high: 1e-2, log: true}\n"
        "    backbone:\n      choices: [lstm, gru]\n      num_layers: {low: 1, high: 2}\n"
        "      dropout: {low: 0.1, high: 0.4, when: {backbone.num_layers: 2}}\n"
        "      forget_bias: {choices: [0.5, 2.0], when: {backbone: lstm}}\n"
    )
    words = ["-m", "--config-dir", "mine", "sweep=deep", "sweep.name=mine", "quiet=true"]
    answer = train(*words, "sweep.space.optimizer.lr.high=1e-1", "sweep.space.optimizer.lr.low=5e-2")
    assert answer.status == 0, answer.stderr
    found = [trial.params for trial in study().trials]
    assert len(found) == 5
    for params in found:
        assert ("backbone.dropout" in params) == (params["backbone.num_layers"] == 2)
        assert ("backbone.forget_bias" in params) == (params["backbone"] == "lstm")
        assert 5e-2 <= params["optimizer.lr"] <= 1e-1
    assert {params["backbone"] for params in found} == {"lstm", "gru"}


def test_a_value_on_the_command_line_wins_over_the_space_and_decides_its_conditions(train: Command) -> None:
    words = ["-m", "sweep=search", "sweep.name=mine", "sweep.n_trials=2"]
    space = (
        "sweep.space={backbone: {num_layers: [1,2], dropout: {low: 0.1, high: 0.4, when: {backbone.num_layers: 2}}}}"
    )
    answer = train(*words, space, "backbone.num_layers=2")
    assert answer.status == 0, answer.stderr
    assert "backbone.num_layers=2 is fixed, and not searched" in answer.stderr
    assert [set(params) for params in proposed()] == [{"backbone.dropout"}] * 2
    assert {row["overrides"]["backbone.num_layers"] for row in content()["jobs"]} == {2}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "sweep.space: is empty; choose a search with sweep=NAME"),
        (["sweep.space={optimizer: {lrr: {low: 0.1, high: 1}}}"], "optimizer.lrr: unknown key; did you mean 'optim"),
        (["sweep.space={backbone: [lstm, lstn]}"], "backbone=lstn: unknown backbone; did you mean 'lstm'?"),
        (["sweep.space={backbone: {num_layers: [0, 2]}}"], "backbone.num_layers=0: should be greater than 0"),
        (["seed=0,1", RATES], "seed=0,1: selecting the best of several would be biased"),
        ([RATES, "+sweep.trials=5"], "sweep.trials: unknown key; did you mean 'n_trials'?"),
        (
            [RATES, "sweep.storage=sqlite:////no/such/folder/s.db"],
            "sweep.storage=sqlite:////no/such/folder/s.db: cannot",
        ),
        (
            ["sweep.space={backbone: {dropout: {low: 0.1, high: 0.4, when: {backbone.layers: 2}}}}"],
            "sweep.space: 'when' refers to the unknown key backbone.layers",
        ),
        (
            ["sweep.space={backbone: {dropout: {low: 0.1, high: 0.4, when: {backbone.num_layer: 2}}}}"],
            "sweep.space: 'when' refers to the unknown key backbone.num_layer; did you mean 'backbone.num_layers'?",
        ),
        (
            [RATES, "sweep.storage=no/such/folder/study.log"],
            "sweep.storage=no/such/folder/study.log: folder no/such/folder does not exist; create or change it",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_anything_is_run(
    train: Command, words: list[str], error: str
) -> None:
    answer = train("-m", "sweep=search", *words)
    assert answer.status == 2
    assert answer.errors[0].startswith(f"cellstate: error: {error}"), answer.stderr
    assert len(answer.errors) == 1
    assert not list(Path().glob("outputs/sweeps/*/*"))
    assert not Path("no").exists()


def test_a_search_is_no_single_run(train: Command) -> None:
    answer = train("sweep=search")
    assert answer.status == 2
    assert (
        answer.stderr == "cellstate: error: sweep: is a search, which consists of many runs; use cellstate train -m\n"
    )


def test_a_study_of_another_space_or_config_is_not_gone_on_with(search: Search) -> None:
    assert search(RATES, "sweep.n_trials=1").status == 0
    other = search("optimizer.lr=tag(log,interval(1e-4,1e-2))", "sweep.n_trials=2")
    assert other.status == 2
    assert "optimizer.lr was {low: 0.0001, high: 0.1, log: true} and is now {low: 0.0001, high: 0.01, log: true}" in (
        other.stderr
    )
    other = search(RATES, "sweep.n_trials=2", "data.length=21")
    assert other.status == 2
    assert "start another with sweep.name=NAME, or undo it" in other.stderr
    assert len(study().trials) == 1


# ---------------------------------------------------------------------- what comes back


@pytest.mark.parametrize(
    "fixed", [["experiment=first_parity", "trainer.gradient_clip_val=null"], *slow(["backbone=rnn"])]
)
def test_the_best_comes_back_as_an_experiment_that_is_the_job_of_the_best_trial(
    fixed: list[str], search: Search, cellstate: Command
) -> None:
    words = [*fixed, RATES, "optimizer=adam,adamw", "optimizer.betas=[0.9,0.99],[0.8,0.9]", "sweep.n_trials=2"]
    assert search(*[word for word in words if "experiment" not in word]).status == 0
    best = study().best_trial
    config, _ = compose("train", ["experiment=best"], config_dir=PLACE)
    assert config.experiment == "best"
    config.experiment = "pattern"
    assert job_key(config) == best.user_attrs["job"]["key"]
    small = ["quiet=true", "report=false"]
    answer = cellstate(
        "train", "--config-dir", str(PLACE), "experiment=best", "test=false", *small, "hydra.run.dir=again"
    )
    assert answer.status == 0, answer.stderr
    assert json.loads(Path("again/metrics.json").read_text())["best"]["value"] == best.value


def test_several_objectives_give_a_front_that_none_betters(search: Search) -> None:
    words = ["backbone.hidden_size=int(interval(2,24))", RATES, "sweep.objective=[val/loss,parameters]"]
    assert search(*words, "sweep.n_trials=4").status == 0
    trials = study().trials
    jobs = {row["folder"]: row for row in content()["jobs"]}
    for trial in trials:
        row = jobs[trial.user_attrs["job"]["folder"]]
        assert trial.values == [row["val"]["loss"], row["parameters"]]
    front = [
        one.number
        for one in trials
        if not any(
            all(a <= b for a, b in zip(other.values, one.values, strict=True)) and other.values != one.values
            for other in trials
        )
    ]
    assert sorted(content()["search"]["best"]) == front
    config, _ = compose("train", ["experiment=best"], config_dir=PLACE)
    first = min(trials, key=lambda trial: trial.values[0])
    assert config.backbone.hidden_size == first.params["backbone.hidden_size"]
    assert len(list((PLACE / "experiment").glob("front-*.yaml"))) == (len(front) if len(front) > 1 else 0)


def test_the_direction_of_a_metric_follows_from_it(search: Search) -> None:
    assert search(RATES, "sweep.n_trials=1", "sweep.objective=val/accuracy").status == 0
    assert study().direction == optuna.study.StudyDirection.MAXIMIZE
    found = [row["val"]["accuracy"] for row in content()["jobs"]]
    assert sorted(trial.values[0] for trial in study().trials if trial.values) == sorted(found)


def test_a_metric_that_the_task_does_not_have_is_told_before_anything_is_run(
    search: Search, trained: list[str]
) -> None:
    answer = search(RATES, "sweep.n_trials=2", "sweep.objective=val/accurcy")
    assert (answer.status, len(answer.errors)) == (2, 1)
    assert "sweep.objective=val/accurcy: unknown metric; did you mean 'val/accuracy'?" in answer.stderr
    assert (trained, Path("outputs").exists()) == ([], False)
    answer = search(RATES, "sweep.n_trials=1", "sweep.objective=val/accuracy")
    assert answer.status == 0, answer.stderr
    assert len(study().trials) == 1


@pytest.mark.slow
def test_a_study_without_a_result_begins_anew_with_what_is_asked_for_now(
    train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellstate.training import run as experiment

    fit = experiment.fit

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    words = ["-m", "sweep=search", "sweep.name=mine", RATES, "sweep.n_trials=2"]
    monkeypatch.setattr(experiment, "fit", stopped)
    assert train(*words, "sweep.objective=val/f1").status == 1
    assert [trial.state for trial in study().trials] == [TrialState.RUNNING]
    before = proposed()
    monkeypatch.setattr(experiment, "fit", fit)
    answer = train(*words)
    assert answer.status == 0, answer.stderr
    assert "replaced an unused study: sweep.objective was val/f1 and is now val/loss" in answer.stderr
    assert study().direction == optuna.study.StudyDirection.MINIMIZE
    assert [trial.state for trial in study().trials] == [TrialState.COMPLETE] * 2
    assert proposed()[:1] == before
    refused = train(*words, "sweep.objective=val/f1")  # now there is something to lose
    assert refused.status == 2
    assert "sweep.objective was val/loss and is now val/f1; start another" in refused.stderr
    assert len(study().trials) == 2


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["data.path=nofile.csv"], "nofile.csv"),
        (["data.path=load.csv", "data.target=lod"], "lod"),
        (["data.path=load.csv", "data.batch_size=16,100000"], "data.batch_size=100000 is larger than the training"),
        (["data.path=load.csv", "data.window=[24,100000]"], "data.window"),
        (["data.path=load.csv", "optimizer.betas=[0.9,0.99],[0.9,1.5]"], "optimizer: Invalid beta parameter"),
    ],
)
def test_what_no_trial_could_work_with_is_told_once_and_leaves_no_folder(
    words: list[str], error: str, cellstate: Command, trained: list[str]
) -> None:
    write_csv(Path("load.csv"), series_rows())
    small = ["trainer.max_epochs=1", "backbone.hidden_size=4", "report=false"]
    given = [
        word if word != "data.window=[24,100000]" else "sweep.space={data: {window: [24, 100000]}}" for word in words
    ]
    answer = cellstate("train", "-m", "sweep=search", "experiment=series", *small, RATES, *given)
    assert answer.status == 2
    assert len(answer.errors) == 1, answer.stderr
    assert error in answer.stderr
    assert (trained, Path("outputs").exists()) == ([], False)


@pytest.mark.slow
def test_trials_that_fail_for_one_reason_are_told_in_one_line(search: Search) -> None:
    words = ["trainer.accelerator=cpu,tpu", RATES, "sweep.sampler=random", "sweep.n_trials=8"]
    answer = search(*words)
    failed = [trial.number for trial in study().trials if trial.state == TrialState.FAIL]
    assert len(failed) > 1
    assert min(trial.number for trial in study().trials if trial.state == TrialState.COMPLETE) < 3
    assert (answer.status, len(answer.errors)) == (2, 1), answer.stderr
    assert f"{len(failed)} trials, first trial {failed[0]} (accelerator=tpu " in answer.stderr


def test_a_trial_that_takes_the_result_of_another_says_of_which(train: Command) -> None:
    words = ["-m", "sweep=search", "sweep.name=mine", "sweep.sampler=random", "sweep.n_trials=4"]
    answer = train(*words, "backbone.hidden_size=4,8")
    assert answer.status == 0, answer.stderr
    first: dict[int, int] = {}
    for number, params in enumerate(proposed()):
        (line,) = [line for line in answer.stderr.splitlines() if f"  trial {number}  " in line]
        was = first.setdefault(params["backbone.hidden_size"], number)
        assert (f"result of trial {was}" in line) == (was != number) != (" s" in line.partition("val/loss")[2])


@pytest.mark.parametrize("sampler", ["tpe", "gp", *slow(*(name for name in SAMPLERS if name not in ("tpe", "gp")))])
def test_a_sampler_works_or_names_its_package_before_anything_is_run(
    sampler: str, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none of the packages is there that Optuna asks for beside itself."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("scipy", "cmaes")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("scipy", "cmaes"):
        monkeypatch.setitem(sys.modules, name, None)
    arguments = "{name: gp, n_startup_trials: 1}" if sampler == "gp" else sampler
    answer = search(RATES, "model.dropout=interval(0.0,0.5)", "sweep.n_trials=2", f"sweep.sampler={arguments}")
    needed = {"gp": "scipy", "qmc": "scipy", "cmaes": "cmaes"}.get(sampler)
    if needed is None:
        assert answer.status == 0, answer.stderr
    else:
        assert answer.errors == [f"cellstate: error: sweep.sampler={sampler}: requires a package; pip install {needed}"]
        assert (answer.status, Path("outputs").exists()) == (2, False)


def test_nothing_of_optuna_is_on_the_screen_and_a_trial_has_a_line(train: Command) -> None:
    answer = train("-m", "sweep=search", "sweep.name=mine", RATES, "backbone.hidden_size=4,8", "sweep.n_trials=3")
    assert answer.status == 0
    lines = answer.stderr.splitlines()
    assert lines[:2] == ["3 trials", f"  -> {PLACE}"]
    assert [line.partition("  ")[0] for line in lines[2:]] == [f"{place}/3" for place in range(1, 4)]
    assert all("val/loss" in line for line in lines[2:])
    best = study().best_trial
    assert f"best parameters: trial {best.number}" in answer.stdout
    assert "cellstate train --config-dir outputs/sweeps/mine experiment=best" in answer.stdout
    with (PLACE / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val/loss"]) for row in rows] == [trial.value for trial in study().trials]
    assert [float(row["optimizer.lr"]) for row in rows] == [trial.params["optimizer.lr"] for trial in study().trials]


@pytest.mark.slow
def test_of_trials_that_were_added_at_the_same_time_no_more_are_counted_than_there_are_to_be(
    working_folder: Path, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes without a common folder cannot wait for each other: each sees room for one more."""
    assert search(RATES, "sweep.n_trials=1").status == 0
    trials = Study.trials

    def crowded(self: Study) -> Any:  # somebody else adds the last one, between the look and the addition
        monkeypatch.setattr(Study, "trials", trials)
        found = trials(self)
        if len(found) == 1:
            self.storage.create_new_trial(self.storage.get_study_id_from_name(self.name))
        return found

    monkeypatch.setattr(
        Study, "ask", lambda self, ask=Study.ask: (monkeypatch.setattr(Study, "trials", crowded), ask(self))[1]
    )
    assert search(RATES, "sweep.n_trials=2").status == 0
    monkeypatch.undo()
    monkeypatch.chdir(working_folder)
    counted = [trial for trial in study().trials if not trial.user_attrs.get("surplus")]
    assert [trial.state for trial in counted] == [TrialState.COMPLETE, TrialState.RUNNING]
    assert len(content()["jobs"]) == 1


def test_the_best_of_an_experiment_of_ones_own_needs_nothing_of_ones_own(train: Command) -> None:
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/own.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /data: first_parity\n  - override /model: lstm_classifier\n"
        "  - override /scheduler: warmup_cosine\ndata:\n  length: 7\ntrainer:\n  max_epochs: 2\n"
    )
    words = ["-m", "--config-dir", "mine", "experiment=own", "sweep=search", "sweep.name=mine", "sweep.n_trials=1"]
    assert train(*words, RATES, "~callbacks.gradient_norm", "+optimizer.eps=1e-6").status == 0
    config, _ = compose("train", ["experiment=best", "~callbacks.gradient_norm"], config_dir=PLACE)
    config.experiment = "own"
    assert job_key(config) == study().best_trial.user_attrs["job"]["key"]
    assert "It was trained with ~callbacks.gradient_norm" in (PLACE / "experiment/best.yaml").read_text()
