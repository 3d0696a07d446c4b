"""What must hold of every config there is: its classes exist, its place mirrors the code, its experiment runs."""

import math
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf
from tests.conftest import every_third, slow

import cellstate
from cellstate.checkpoint.trust import resolved
from cellstate.config.compose import compose
from cellstate.config.paths import config_folder
from cellstate.scoring.rebuild import BACKBONES, DATA, MODELS

CONF = config_folder()
GROUPS = sorted(entry.name for entry in CONF.iterdir() if entry.is_dir() and entry.name != "hydra")
EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
# What makes an experiment of any kind small enough for a test; the keys that a kind does not have are left out.
SMALL = {
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 2,
    "trainer.limit_val_batches": 1,
    "trainer.limit_test_batches": 1,
    "backbone.hidden_size": 8,
    "data.train_size": 128,
    "data.val_size": 64,
    "data.test_size": 64,
}


def small(experiment):
    config, _ = compose("train", [f"experiment={experiment}"])
    return [f"{key}={value}" for key, value in SMALL.items() if OmegaConf.select(config, key) is not None]


def targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)


@pytest.mark.parametrize("experiment", every_third(EXPERIMENTS, 0))
def test_every_experiment_trains_tests_and_evaluates_to_its_own_numbers(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = cellstate.train([f"experiment={experiment}", *small(experiment), "report=false"])
    assert run.metrics["steps"] == 2
    assert run.metrics[run.data.reported_split]["loss"] > 0
    assert run.metrics["reference"], "no number stands alone"


@pytest.mark.parametrize("experiment", every_third(EXPERIMENTS, 1))
def test_every_experiment_trains_with_the_lstm_from_its_equations(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"experiment={experiment}", *small(experiment), "report=false"]
    run = cellstate.train([*words, "backbone=lstm_transparent", "hydra.run.dir=run"])
    assert run.metrics["steps"] == 2
    assert math.isfinite(run.metrics["val"]["loss"])
    evaluation = cellstate.evaluate(run.checkpoint, test=False)
    assert evaluation.compared
    assert not evaluation.differing


@pytest.mark.parametrize(
    ("backbone", "precision"),
    [
        ("lstm_transparent", "bf16-mixed"),
        ("gru_transparent", "64-true"),
        *slow(("gru_transparent", "bf16-mixed"), ("rnn_transparent", "bf16-mixed")),
        *slow(("lstm_transparent", "64-true"), ("rnn_transparent", "64-true")),
    ],
)
def test_networks_from_their_equations_train_in_other_precisions(backbone, precision, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for experiment in ("pattern_bilstm", "next_state"):
        words = [f"experiment={experiment}", *small(experiment), "report=false", f"backbone={backbone}"]
        run = cellstate.train([*words, f"trainer.precision={precision}", f"hydra.run.dir={experiment}"])
        assert math.isfinite(run.metrics["val"]["loss"])


@pytest.mark.parametrize("file", sorted(CONF.glob("*/*.yaml")), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_config_names_objects_that_exist_and_says_what_it_is(file):
    assert file.read_text().startswith("#")
    for target in targets(OmegaConf.to_container(OmegaConf.load(file), resolve=False)):
        assert callable(get_object(target))


@pytest.mark.parametrize("group", GROUPS)
def test_a_config_group_and_the_package_it_configures_bear_one_name(group):
    elsewhere = {"optimizer": None, "trainer": None, "experiment": None, "comparison": "sweep/compare"}
    package = elsewhere.get(group, group)  # None: of torch, of Lightning, and of all groups together
    assert package is None or (Path(cellstate.__file__).parent / package).is_dir()


@pytest.mark.parametrize(("group", "table"), [("data", DATA), ("backbone", BACKBONES), ("model", MODELS)])
def test_a_checkpoint_of_every_config_can_be_rebuilt(group, table):
    for file in (CONF / group).glob("*.yaml"):
        # Composed, as a model's preset takes its class from another config.
        config, _ = compose("train", [f"{group}={file.stem}"])
        assert issubclass(resolved(config[group]._target_, table), table.kind), "allowed without trust"
