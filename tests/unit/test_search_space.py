"""The space and the settings of a search: what they mean, and one line for each thing that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from cellstate.errors import RequestError
from cellstate.sweep.search.settings import read_settings
from cellstate.sweep.search.space import drawn, from_word, read_space, word_of


def refusal(function: Any, *parts: Any) -> str:
    with pytest.raises(RequestError) as caught:
        function(*parts)
    (line,) = caught.value.problems
    return line


def unquoted(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, dict):
        return {unquoted(key): unquoted(part) for key, part in value.items()}
    return [unquoted(part) for part in value] if isinstance(value, list) else value


def test_a_space_is_the_tree_of_the_config() -> None:
    tree = {
        "optimizer": {"lr": {"low": 1e-3, "high": 1e-2, "log": True}},
        "backbone": {
            "choices": ["lstm", "gru"],
            "num_layers": {"low": 1, "high": 2},
            "hidden_size": [32, 64],
            "dropout": {"low": 0.0, "high": 0.5, "step": 0.1},
        },
    }
    found = {one.key: one.distribution() for one in read_space(tree)}
    assert found == {
        "optimizer.lr": FloatDistribution(1e-3, 1e-2, log=True),
        "backbone": CategoricalDistribution(["lstm", "gru"]),
        "backbone.num_layers": IntDistribution(1, 2),
        "backbone.hidden_size": CategoricalDistribution([32, 64]),
        "backbone.dropout": FloatDistribution(0.0, 0.5, step=0.1),
    }


def test_a_condition_is_asked_after_what_it_asks_about() -> None:
    tree = {
        "backbone": {
            "dropout": {"low": 0.1, "high": 0.5, "when": {"backbone": {"num_layers": {"low": 2}}}},
            "num_layers": {"low": 1, "high": 3, "when": {"optimizer.lr": [0.1, 0.2]}},
        }
    }
    space = read_space(tree)
    assert [one.key for one in space] == ["backbone.num_layers", "backbone.dropout"]
    values = {"backbone.num_layers": 3, "backbone.dropout": 0.2}
    for rate, layers, expected in ((0.1, 3, values), (0.3, 2, {"backbone.dropout": 0.2}), (0.3, 1, {})):
        # Where the layers are not searched, the condition asks what the config has.
        config = {"optimizer.lr": rate, "backbone.num_layers": layers}
        assert drawn(space, lambda one: values[one.key], config.get) == expected


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ({"lr": {"low": 1.0, "high": 0.1}}, "sweep.space.lr: low=1.0 is above high=0.1"),
        ({"lr": {"low": 0, "high": 1, "log": True}}, "sweep.space.lr.low=0: has no logarithm"),
        ({"lr": {"low": 0.1, "hgih": 1}}, "sweep.space.lr.hgih=1: is not a parameter"),
        ({"lr": {"low": 0.1}}, "sweep.space.lr.high: should be a number"),
        ({"lr": {"low": 0.1, "high": "much"}}, "sweep.space.lr.high=much: should be a number"),
        ({"lr": {"low": 0.1, "high": float("nan")}}, "sweep.space.lr: low=0.1 is above high=nan"),
        ({"lr": {"low": 0.1, "high": 1, "step": 0}}, "sweep.space.lr.step=0: should be greater than 0"),
        ({"lr": {"low": 0.1, "high": 1, "step": 0.1, "log": True}}, "sweep.space.lr.step=0.1: has no meaning on a log"),
        ({"lr": {"low": 0.1, "high": 1, "choices": [1]}}, "sweep.space.lr: has choices and low"),
        ({"lr": []}, "sweep.space.lr.choices: is empty"),
        ({"lr": {"choices": "many"}}, "sweep.space.lr.choices=many: should be a list"),
        ({"lr": 0.1}, "sweep.space.lr=0.1: is not a parameter; set choices, or low and high"),
        ({"lr": {"choices": [1], "when": 3}}, "sweep.space.lr.when=3: should be a mapping"),
        ({"lr": {"choices": [1], "when": {"lr": 1}}}, "sweep.space.lr.when: the conditions are circular"),
        ({"seed": [0, 1]}, "sweep.space.seed: is a repetition"),
        ({"sweep": {"seed": [0, 1]}}, "sweep.space.sweep.seed: configures the search"),
        (["lr"], "sweep.space=[lr]: should be a mapping"),
    ],
)
def test_a_space_that_cannot_be_is_told_in_one_line(tree: Any, line: str) -> None:
    assert refusal(read_space, tree).startswith(line)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"sampler": "tpr"}, "sweep.sampler=tpr: unknown sampler; did you mean 'tpe'?"),
        ({"sampler": {"name": "tpe", "n_starts": 5}}, "sweep.sampler.n_starts: unknown key"),
        ({"sampler": {"name": "tpe", "seed": 5}}, "sweep.sampler.seed: is filled in by cellstate"),
        ({"pruner": "mean"}, "sweep.pruner=mean: unknown pruner; did you mean 'median'?"),
        ({"pruner": "threshold"}, "sweep.pruner=threshold: "),
        ({"n_trials": 0}, "sweep.n_trials=0: should be an integer of at least 1"),
        ({"n_trials": True}, "sweep.n_trials=true: should be an integer of at least 1"),
        ({"trials": 5}, "sweep.trials: unknown key; did you mean 'n_trials'?"),
        ({"objective": "test/loss"}, "sweep.objective=test/loss: a search never reads the test split; use val/loss"),
        ({"objective": "loss"}, "sweep.objective=loss: should be val/METRIC"),
        ({"objective": ["seconds", "seconds"]}, "sweep.objective=[seconds,seconds]: contains duplicates"),
        ({"directions": "down"}, "sweep.directions=down: should be minimize or maximize"),
        ({"directions": ["minimize"] * 3, "objective": ["val/loss", "seconds"]}, "sweep.directions="),
        ({"nested": "yes"}, "sweep.nested=yes: should be true or false"),
        (
            {"pruner": "median", "objective": ["val/loss", "parameters"]},
            "sweep.pruner=median: pruning requires a single objective, and this search has 2; set sweep.pruner=null",
        ),
    ],
)
def test_settings_that_cannot_be_are_told_in_one_line(values: dict[str, Any], line: str) -> None:
    config = OmegaConf.create({"sweep": {"n_trials": 20, **values}})
    assert refusal(read_settings, config).startswith(line)


def test_what_is_better_follows_from_the_metric() -> None:
    objectives = ["val/accuracy", "val/loss", "parameters", "val/auroc"]
    found = read_settings(OmegaConf.create({"sweep": {"n_trials": 1, "objective": objectives}}))
    assert found.directions == ("maximize", "minimize", "minimize", "maximize")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("lr=interval(0.1,0.2)", FloatDistribution(0.1, 0.2)),
        ("lr=tag(log,interval(1e-4,0.1))", FloatDistribution(1e-4, 0.1, log=True)),
        ("n=int(interval(1,4))", IntDistribution(1, 4)),
        ("n=range(1,8,3)", CategoricalDistribution([1, 4, 7])),
    ],
)
def test_several_values_on_the_command_line_are_a_parameter(word: str, expected: Any) -> None:
    assert from_word(OverridesParser.create().parse_override(word)).distribution() == expected


@pytest.mark.parametrize("word", ["seed=range(3)", "data.fold=range(7)"])
def test_the_luckiest_of_several_repetitions_is_not_searched(word: str) -> None:
    assert "selecting the best of several would be biased" in refusal(
        from_word, OverridesParser.create().parse_override(word)
    )


@pytest.mark.parametrize(
    "value",
    [
        "a'b",
        "x\\",
        "a b,c",
        "1",
        "true",
        "${seed}",
        [1, [2, "x y"]],
        {"a": [1]},
        None,
        True,
        1e-05,
        3.0,
        3,
        "a\\'b",
        "",
        "1e5",
    ],
)
def test_hydra_reads_a_written_value_back_as_it_was(value: Any) -> None:
    found = unquoted(OverridesParser.create().parse_override(word_of("key", value)).value())
    assert (found, type(found)) == (value, type(value))
