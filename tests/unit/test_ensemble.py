"""Ensembles: every member is trained as if it were alone, and their predictions are averaged."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from cellstate.backbone import LSTM
from cellstate.data.batch import Batch, DataSpec
from cellstate.errors import UnsupportedError
from cellstate.model import Classifier, Forecaster, LanguageModel
from cellstate.model.ensemble import ensemble_of

SPEC = DataSpec(input_size=1, targets=("v",), window=12, horizon=5, mean=(50.0,), std=(4.0,))


def build(**options):
    return Forecaster(SPEC, partial(LSTM, hidden_size=8), **options)


def ensemble(size=3, **options):
    torch.manual_seed(0)
    return ensemble_of(partial(build, **options), size)


def batch(seed=0):
    chance = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(6, 12, 1, generator=chance), torch.randn(6, 5, 1, generator=chance))


def test_one_network_is_no_ensemble():
    assert type(ensemble(1)) is Forecaster


def test_members_differ_and_the_forecast_is_their_mean():
    model = ensemble().eval()
    assert isinstance(model, Forecaster)
    forecasts = torch.stack([member(batch().inputs) for member in model.members])
    assert (forecasts[0] - forecasts[1]).abs().max() > 1e-3
    torch.testing.assert_close(model(batch().inputs), forecasts.mean(0))


def test_a_gaussian_ensemble_has_mean_and_variance_of_the_mixture():
    model = ensemble(head="gaussian").eval()
    means, stds = torch.stack([member(batch().inputs) for member in model.members]).unbind(-1)
    draws = means + stds * torch.randn(200_000 // len(means), *means.shape, generator=torch.Generator().manual_seed(1))
    found = model(batch().inputs)
    torch.testing.assert_close(found[..., 0], means.mean(0))
    # The standard error of a standard deviation of 200,000 draws is some 0.2 %.
    torch.testing.assert_close(found[..., 1], draws.flatten(0, 1).std(0), rtol=0.02, atol=0)


def test_classifiers_average_their_probabilities():
    spec = DataSpec(input_size=2, classes=("a", "b", "c"))
    torch.manual_seed(0)
    model = ensemble_of(partial(Classifier, spec, partial(LSTM, hidden_size=8)), 3).eval()
    inputs = torch.randn(5, 7, 2)
    probabilities = torch.stack([member(inputs).softmax(-1) for member in model.members])
    torch.testing.assert_close(model(inputs).softmax(-1), probabilities.mean(0))


@pytest.mark.parametrize(("clip", "how"), [(None, None), (1e-2, "norm"), (1e-3, "value")])
def test_each_member_has_the_gradient_that_it_would_have_alone(clip, how):
    model = ensemble()
    alone = [copy.deepcopy(member) for member in model.members]
    model.training_step(batch(), 0).backward()
    model.configure_gradient_clipping(torch.optim.SGD(model.parameters()), clip, how)
    for member, other in zip(model.members, alone, strict=True):
        other.training_step(batch(), 0).backward()
        if how == "norm":
            nn.utils.clip_grad_norm_(other.parameters(), clip)
        elif how == "value":
            nn.utils.clip_grad_value_(other.parameters(), clip)
        for one, expected in zip(member.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(one.grad, expected.grad)


def test_the_reported_loss_is_the_mean_of_the_members():
    model = ensemble()
    model.training_step(batch(), 0)
    losses = [member.loss(member(batch().inputs), batch()) for member in model.members]
    assert model.train_results()["loss"] == pytest.approx(torch.stack(losses).mean().item(), rel=1e-6)


def test_a_model_that_cannot_be_averaged_is_rejected():
    spec = DataSpec(vocabulary=("a", "b"))
    with pytest.raises(UnsupportedError, match="cannot be averaged"):
        ensemble_of(partial(LanguageModel, spec, partial(LSTM, hidden_size=4)), 2)
