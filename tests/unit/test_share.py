"""The weight of the linear forecast: the network takes part where it is significantly better, and only there."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cellstate.data.batch import Batch
from cellstate.model.forecasting.heads import GaussianHead, QuantileHead
from cellstate.model.forecasting.model import Forecaster
from cellstate.model.forecasting.share import chosen, significant

HORIZON, WINDOWS = 10, 100


def test_of_gains_that_are_chance_one_in_ten_is_significant():
    draws, count = 4000, 5
    found = [significant(gains) for gains in np.random.default_rng(0).normal(size=(draws, count))]
    assert np.mean(found) == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / draws) ** 0.5)


def test_one_gain_is_no_evidence_and_equal_ones_are():
    assert not significant([3.0])
    assert significant([0.1, 0.1])
    assert not significant([0.0, 0.0])


@pytest.fixture
def model():
    """A forecaster that returns what it is given, with the mean absolute error for its loss."""
    return SimpleNamespace(
        spec=SimpleNamespace(horizon=HORIZON),
        device="cpu",
        trainer=SimpleNamespace(strategy=SimpleNamespace(reduce=lambda tensor, reduce_op: tensor)),  # noqa: ARG005
        kind=SimpleNamespace(metrics=()),
        combined=lambda forecast, line, share, width=1.0: forecast + share * (line - forecast),  # noqa: ARG005
        loss=lambda output, batch: (output - batch.targets).abs().mean(),
    )


def share(model, network, line, truth):
    batches = [Batch(torch.zeros(len(rows), 1, 1), truth[rows]) for rows in torch.arange(WINDOWS).split(30)]
    parts = zip(network.split(30), line.split(30), batches, strict=True)
    found, width = chosen(model, list(parts))
    assert width == 1
    return found


def test_the_better_one_is_taken_and_two_with_separate_errors_are_averaged(model):
    torch.manual_seed(0)
    truth, noise, other = torch.randn(3, WINDOWS, HORIZON, 1)
    assert share(model, truth, truth + noise, truth) == 0
    assert share(model, truth + noise, truth, truth) == 1
    assert share(model, truth + noise, truth + other, truth) == pytest.approx(0.5, abs=0.2)


def test_a_network_that_is_better_on_one_stretch_alone_is_not_taken(model):
    truth = torch.zeros(WINDOWS, HORIZON, 1)
    line, network = truth + 1.0, truth + 1.05
    network[:HORIZON] = 0.0  # on average the network is better, by the first tenth of the split
    assert (network.abs().mean() < line.abs().mean()).item()
    assert share(model, network, line, truth) == 1


@pytest.mark.parametrize("head", [QuantileHead((0.05, 0.25, 0.5, 0.75, 0.95)), GaussianHead((0.05, 0.5, 0.95))])
def test_a_distribution_that_is_half_as_wide_as_the_errors_is_made_twice_as_wide(head):
    torch.manual_seed(0)
    truth = torch.randn(2000, HORIZON, 1)  # around 0, of which the network is too sure
    sure = torch.distributions.Normal(0.0, 0.5)
    one = sure.icdf(torch.tensor(head.levels)) if isinstance(head, QuantileHead) else torch.tensor([0.0, 0.5])
    forecast, line = one.expand(2000, HORIZON, 1, -1), torch.zeros(2000, HORIZON, 1)
    model = SimpleNamespace(
        spec=SimpleNamespace(horizon=HORIZON),
        device="cpu",
        kind=head,
        trainer=SimpleNamespace(strategy=SimpleNamespace(reduce=lambda tensor, reduce_op: tensor)),  # noqa: ARG005
        combined=lambda forecast, line, share, width=1.0: Forecaster.combined(model, forecast, line, share, width),
        loss=lambda output, batch: head.loss(output, batch.targets),
    )
    assert chosen(model, [(forecast, line, Batch(torch.zeros(2000, 1, 1), truth))])[1] == 2.0
