"""What a forecast sees: every forecaster sees all of its window and nothing else; broken ones are named."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from cellstate.backbone import LSTM
from cellstate.config.compose import compose
from cellstate.config.paths import config_folder
from cellstate.data.samples import WindowSamples
from cellstate.inspection.analysis import ReceptiveFieldError, check_forecaster, receptive_field
from cellstate.inspection.analysis.receptive_field import data_field, head_field
from cellstate.model import Forecaster
from cellstate.training.build import build_data, build_model
from cellstate.training.settings import Settings

BACKBONES = sorted(file.stem for file in (config_folder() / "backbone").glob("*.yaml"))
MODELS = sorted(file.stem for file in (config_folder() / "model").glob("*.yaml"))


def class_of(model):
    """Return what a config of a model builds: what it names itself, or what the config does that it begins with."""
    config = OmegaConf.load(config_folder() / "model" / f"{model}.yaml")
    return config.get("_target_") or class_of(config.defaults[0].partition("@")[0])


FORECASTERS = [name for name in MODELS if class_of(name).endswith(".Forecaster")]


def built(*words):
    config, _ = compose("train", ["experiment=series", "backbone.hidden_size=8", *words])
    config = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    torch.manual_seed(0)
    data = build_data(Settings.of(config))
    return build_model(Settings.of(config), data), data.prepared.splits["val"]


class SlicesLastOutputs(Forecaster):
    """The fault: step j of the forecast is read off the output of j steps before the end."""

    def _numbers(self, window, covariates, frame):  # noqa: ARG002
        segments = window.reshape(len(window), -1, self.segment * window.shape[-1])
        outputs, _ = self.backbone(self.embedding(segments))
        head = self.head.weight[: self.kind.size]
        return (outputs[:, -self.spec.horizon :] @ head.T).unsqueeze(2)


class ShowsTheFuture(WindowSamples):
    """The fault: windows begin two steps late."""

    def batch(self, indices):
        whole = super().batch(indices)
        return whole._replace(inputs=torch.cat((whole.inputs[:, 2:], whole.targets[:, :2]), dim=1))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("model", FORECASTERS)
def test_every_forecaster_sees_the_newest_input_and_no_future(model, backbone):
    assert FORECASTERS
    field = check_forecaster(*built(f"model={model}", f"backbone={backbone}"), count=2)
    assert field.mask.all() or backbone.startswith("rnn")  # a simple network may underflow over hundreds of steps


@pytest.mark.parametrize("head", ["point", "quantile", "gaussian"])
@pytest.mark.parametrize("normalisation", ["last", "mean", "mean_std", "none"])
def test_so_does_every_head_under_every_normalisation(head, normalisation):
    words = [f"model.head={head}", f"model.normalisation={normalisation}", "data.horizon=3", "model.segment=1"]
    model, samples = built(*words, "model=gru_forecaster", "data.window=20")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    field = check_forecaster(model.train(), samples, count=2)
    assert field.mask.shape == (3, 20)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def broken(normalisation):
    _, samples = built("data.horizon=4", "data.window=16")
    spec = build_data(Settings.of(compose("train", ["experiment=series", "data.horizon=4", "data.window=16"])[0])).spec
    torch.manual_seed(0)
    model = SlicesLastOutputs(spec, lambda input_size: LSTM(input_size, 8), segment=1, normalisation=normalisation)
    return model, samples


@pytest.mark.parametrize("normalisation", ["last", "mean", "none"])
def test_a_head_that_slices_the_last_outputs_fails_loudly(normalisation):
    model, samples = broken(normalisation)
    with pytest.raises(ReceptiveFieldError, match="forecast steps 1, 2, 3 of 4 do not see the newest input, step 16"):
        check_forecaster(model, samples)


def test_the_mask_of_such_a_head_is_a_staircase():
    model, samples = broken("last")
    mask = head_field(model, samples.batch(torch.arange(3)).inputs).mask
    assert mask.tolist() == [[step < 16 - 3 + row for step in range(16)] for row in range(4)]


def test_windows_that_show_the_future_fail_loudly():
    model, samples = built("data.horizon=4", "data.window=16", "model=lstm_forecaster")
    leaky = ShowsTheFuture(samples.values, samples.starts[:-2], samples.window, samples.horizon)
    with pytest.raises(
        ReceptiveFieldError, match="see the future: step 1 depends on the value 1 step after the newest"
    ):
        check_forecaster(model, leaky)
    field = data_field(model, leaky)
    assert {ahead for _, ahead in field.leaking} == {1, 2}
    assert field.strength.shape == (4, 20)
    assert not data_field(model, samples).leaking


def test_the_jacobian_of_a_linear_forecast_is_its_matrix():
    torch.manual_seed(0)
    matrix = torch.randn(3, 7, dtype=torch.float64)
    matrix[:, 2] = 0
    field = receptive_field(lambda rows: rows[..., 0] @ matrix.T, torch.randn(5, 7, 1).double())
    assert not field.mask[:, 2].any()
    ratio = field.strength / matrix.abs()
    assert torch.allclose(ratio[:, [0, 1, 3]], ratio[0, 0].expand(3, 3))  # but for the one random direction


def test_a_recurrent_network_sees_the_past_and_a_bidirectional_one_the_future():
    torch.manual_seed(0)
    inputs = torch.randn(2, 6, 3).double()
    causal, both = nn.GRU(3, 4, batch_first=True).double(), nn.GRU(3, 4, bidirectional=True, batch_first=True).double()
    assert torch.equal(receptive_field(lambda rows: causal(rows)[0], inputs).mask, torch.ones(6, 6).tril().bool())
    assert receptive_field(lambda rows: both(rows)[0], inputs).mask.all()
    with pytest.raises(ReceptiveFieldError, match="see the future"):
        receptive_field(lambda rows: both(rows)[0][:, :4], inputs, known=4).check()
