"""Models by name: one word chooses class and backbone, every other word still wins, and every pair trains."""

import functools
import itertools
import re

import pytest
import torch
from omegaconf import OmegaConf
from tests.conftest import slow

from cellstate.config.check import check
from cellstate.config.compose import compose
from cellstate.config.paths import config_folder
from cellstate.training.build import build_data, build_model
from cellstate.training.settings import Settings

MODELS = sorted(file.stem for file in (config_folder() / "model").glob("*.yaml"))
PRESETS = [name for name in MODELS if "_target_" not in OmegaConf.load(config_folder() / "model" / f"{name}.yaml")]
EXPERIMENTS = sorted(file.stem for file in (config_folder() / "experiment").glob("*.yaml"))
BACKBONES = ("rnn", "lstm", "gru")
ALL_BACKBONES = sorted(file.stem for file in (config_folder() / "backbone").glob("*.yaml"))
SMALL = {"data.train_size": 128, "data.val_size": 32, "data.test_size": 32, "backbone.hidden_size": 4}


@functools.cache
def composed(*words):
    """The config of ``cellstate train WORDS``, without interpolations."""
    config, _ = compose("train", list(words))
    return OmegaConf.create(OmegaConf.to_container(config, resolve=True))


def network(*words):
    config = composed(*words)
    backbone = config.backbone
    kind = backbone._target_.rpartition(".")[2].lower()
    return config.model._target_.rpartition(".")[2], kind, backbone.num_layers, backbone.bidirectional


def pairs(models, backbones):
    """Every pair; in ``make test`` so many that each model, and each backbone, is among them."""
    often = list(zip(models, itertools.cycle(backbones), strict=False))
    return [*often, *slow(*sorted(set(itertools.product(models, backbones)) - set(often)))]


@functools.cache
def experiment_of(model):
    """The first experiment whose model is of this class: its data suit it."""
    target = composed(f"model={model}").model._target_
    return next(name for name in EXPERIMENTS if composed(f"experiment={name}").model._target_ == target)


# ---------------------------------------------------------------------- what a preset chooses


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("lstm_classifier", ("Classifier", "lstm", 1, False)),
        ("stacked_lstm_classifier", ("Classifier", "lstm", 2, False)),
        ("bilstm_classifier", ("Classifier", "lstm", 1, True)),
        ("lstm_fcn", ("ConvolutionalClassifier", "lstm", 1, True)),
        ("gru_regressor", ("Regressor", "gru", 1, False)),
        ("lstm_regressor", ("Regressor", "lstm", 1, False)),
        ("lstm_forecaster", ("Forecaster", "lstm", 1, False)),
        ("gru_forecaster", ("Forecaster", "gru", 1, False)),
        ("char_lm", ("LanguageModel", "lstm", 1, False)),
    ],
)
def test_a_preset_is_a_class_and_a_backbone(model, expected):
    assert network(f"model={model}") == expected


@pytest.mark.parametrize(("model", "backbone"), pairs(PRESETS, BACKBONES))
def test_a_backbone_on_the_command_line_wins_over_the_preset(model, backbone):
    kind, _, layers, both_ways = network(f"model={model}")
    words = (f"model={model}", f"backbone={backbone}", "backbone.hidden_size=4")
    assert network(*words) == (kind, backbone, layers, both_ways)
    assert composed(*words).backbone.hidden_size == 4
    check(composed(f"experiment={experiment_of(model)}", *words))


def test_so_do_its_layers_and_directions():
    words = ("model=bilstm_classifier", "backbone.num_layers=3", "backbone.bidirectional=false", "model.pooling=max")
    assert network(*words) == ("Classifier", "lstm", 3, False)
    assert composed(*words).model.pooling == "max"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_no_experiment_names_a_backbone_beside_a_model_that_has_presets(experiment):
    # It would win over the preset that someone chooses on the command line.
    defaults = OmegaConf.load(config_folder() / "experiment" / f"{experiment}.yaml").get("defaults", [])
    if any("override /backbone" in entry for entry in defaults if OmegaConf.is_dict(entry)):
        target = composed(f"experiment={experiment}").model._target_
        assert target not in {composed(f"model={model}").model._target_ for model in PRESETS}


@pytest.mark.parametrize(
    ("experiment", "model"),
    [
        ("pattern", "bilstm_classifier"),
        ("pattern_bilstm", "stacked_lstm_classifier"),
        ("trigger_action", "lstm_classifier"),
        ("series", "lstm_forecaster"),
    ],
)
def test_a_preset_on_the_command_line_is_heard_in_an_experiment(experiment, model):
    assert network(f"experiment={experiment}", f"model={model}") == network(f"model={model}")


@pytest.mark.parametrize("model", PRESETS)
def test_a_preset_sets_nothing_but_model_and_backbone(model):
    config, plain = composed(f"model={model}"), composed()
    assert set(config) == set(plain)
    assert {key for key in config if config[key] != plain[key]} <= {"model", "backbone"}


# ---------------------------------------------------------------------- every pair


@functools.cache
def data_of(experiment):
    config = composed(f"experiment={experiment}")
    small = [f"{key}={value}" for key, value in SMALL.items() if OmegaConf.select(config, key) is not None]
    return build_data(Settings.of(composed(f"experiment={experiment}", *small)))


@pytest.mark.parametrize(("model", "backbone"), pairs(MODELS, ALL_BACKBONES))
def test_every_model_trains_two_steps_with_every_backbone(model, backbone):
    data = data_of(experiment_of(model))
    torch.manual_seed(0)
    network = build_model(
        Settings.of(composed(f"model={model}", f"backbone={backbone}", "backbone.hidden_size=4")), data
    )
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    optimizer = network._optimizer(network.parameters())
    losses = []
    for _, batch in zip(range(2), data.loader("train", shuffle=True), strict=False):
        optimizer.zero_grad()
        losses.append(network.training_step(batch, 0))
        losses[-1].backward()
        assert all(weight.grad is not None for weight in network.parameters()), "no part is without effect"
        optimizer.step()
    assert len(losses) == 2
    assert torch.isfinite(torch.stack(losses)).all()
    still = [name for name, weight in network.named_parameters() if torch.equal(weight, before[name])]
    assert not still, f"these never moved: {still}"


# ---------------------------------------------------------------------- on the command line


def test_presets_in_a_sweep_leave_a_run_each(cellstate, working_folder):
    words = ["model=lstm_classifier,bilstm_classifier", "backbone=rnn", "backbone.hidden_size=4", "report=false"]
    small = ["trainer.max_epochs=1", "data.train_size=64", "data.val_size=32", "data.test_size=32", "quiet=true"]
    answer = cellstate("train", "-m", "experiment=pattern", *words, *small)
    assert answer.status == 0, answer.stderr
    found = set()
    for file in working_folder.glob("outputs/sweeps/*/*/config.yaml"):
        config = OmegaConf.load(file)
        found.add((config.backbone._target_.rpartition(".")[2], config.backbone.bidirectional))
    assert found == {("RNN", False), ("RNN", True)}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["model=bilstm_clasifier"],
            "model=bilstm_clasifier: unknown model; did you mean 'bilstm_classifier'?",
        ),
        (["model=bilstm_classifier", "backbone=gruu"], "backbone=gruu: unknown backbone; did you mean 'gru'?"),
        (["model=bilstm_classifier", "model.droput=0.1"], "model.droput: unknown key; did you mean 'model.dropout'?"),
        (
            ["model=bilstm_classifier", "backbone.num_layer=2"],
            "backbone.num_layer: unknown key; did you mean 'backbone.num_layers'?",
        ),
        (
            ["experiment=pattern", "model=lstm_forecaster"],
            "model=Forecaster: forecasts time series, but data=pattern needs a model that classifies sequences; choose "
            "one with model=NAME: bilstm_classifier, classifier, convolutional_classifier, lstm_classifier, lstm_fcn, "
            "stacked_lstm_classifier",
        ),
    ],
)
def test_a_wrong_word_beside_a_preset_is_one_line(cellstate, words, error):
    answer = cellstate("train", *words)
    assert (answer.status, answer.errors) == (2, [f"cellstate: error: {error}"])


def test_presets_are_listed_with_what_they_are_and_completed(cellstate, monkeypatch):
    listed = cellstate("list", "model").stdout
    assert re.search(r"^  bilstm_classifier +A bidirectional LSTM classifier\.$", listed, re.MULTILINE)
    for typed, expected in (
        ("model=bil", "model=bilstm_classifier"),
        ("model=stacked_lstm_classifier backbone.num_", "backbone.num_layers="),
    ):
        monkeypatch.setenv("COMP_LINE", f"cellstate train {typed}")
        assert expected in cellstate("-sc", "query=bash").stdout.split()
