"""The averages of the weights, against the recursions that define them."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cellstate.callbacks import WeightAveraging


class Network(nn.Module):
    """A layer, running statistics, a count, and a number that a validation sets."""

    chosen_buffers = frozenset({"share"})

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.layer, self.norm = nn.Linear(3, 2), nn.BatchNorm1d(2)
        self.again = self.layer  # shared: averaged and exchanged once
        self.register_buffer("share", torch.zeros(()))
        self.to(dtype)


def trained(callback, steps, dtype=torch.float32, accumulate=1, seed=0):
    """A network whose weights move at random, and the weights after each optimiser step, the initial ones first."""
    torch.manual_seed(seed)
    network, path = Network(dtype), []
    trainer = SimpleNamespace(global_step=0)
    callback.on_fit_start(trainer, network)
    path.append(network.layer.weight.detach().double().clone())
    for batch in range(1, accumulate * steps + 1):
        if batch % accumulate == 0:
            trainer.global_step += 1
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter += 0.1 * torch.randn_like(parameter)
            network.norm(torch.randn(8, 2, dtype=dtype))
            path.append(network.layer.weight.detach().double().clone())
        callback.on_train_batch_end(trainer)
    return network, path


def moving_average(path, decay):
    average = path[0]
    for count, weights in enumerate(path[1:]):
        share = min(decay, (1 + count) / (10 + count))
        average = share * average + (1 - share) * weights
    return average


@pytest.mark.parametrize("decay", [0.5, 0.999])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_moving_average_follows_its_recursion_once_a_step(decay, accumulate):
    callback = WeightAveraging(decay)
    _, path = trained(callback, 40, accumulate=accumulate)
    torch.testing.assert_close(callback.averaged["layer.weight"].double(), moving_average(path, decay))


def test_equal_weights_are_the_mean_of_all_steps_after_the_first_ones():
    callback = WeightAveraging(decay=None, start=10)
    _, path = trained(callback, 30)
    expected = torch.stack(path[11:]).mean(0)
    torch.testing.assert_close(callback.averaged["layer.weight"].double(), expected)
    before = WeightAveraging(decay=None, start=10)
    network, _ = trained(before, 10)
    assert torch.equal(before.averaged["layer.weight"], network.layer.weight)


def test_half_precision_loses_no_small_step():
    callback = WeightAveraging(0.999)
    _, path = trained(callback, 200, dtype=torch.bfloat16)
    torch.testing.assert_close(
        callback.averaged["layer.weight"].double(), moving_average(path, 0.999), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_validation_has_the_averages_and_leaves_nothing_behind_but_what_it_chose(dtype):
    callback = WeightAveraging()
    network, _ = trained(callback, 20, dtype)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    averages = {name: value.clone() for name, value in callback.averaged.items()}
    assert set(averages) == {
        "layer.weight", "layer.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"
    }  # fmt: skip
    callback.on_validation_start(None, network)
    assert all(torch.equal(network.state_dict()[name], average.to(dtype)) for name, average in averages.items())
    assert not torch.equal(network.layer.weight, before["layer.weight"])
    network.share.fill_(0.5)
    callback.on_validation_end(None, network)
    after = network.state_dict()
    assert [name for name, value in after.items() if not torch.equal(value, before[name])] == ["share"]
    assert all(torch.equal(callback.averaged[name], average) for name, average in averages.items())


def test_a_resumed_run_goes_on_with_the_same_bits():
    whole, first, second = (WeightAveraging(0.9) for _ in range(3))
    network, _ = trained(whole, 12)
    trained(first, 12)
    checkpoint = {"callbacks": {second.state_key: first.state_dict()}}
    second.on_load_checkpoint(None, network, checkpoint)
    second.on_fit_start(None, network)
    for callback in (whole, second):
        callback.on_train_batch_end(SimpleNamespace(global_step=13))
    assert all(torch.equal(value, second.averaged[name]) for name, value in whole.averaged.items())
    second.state_dict()["averaged"]["layer.bias"] = torch.zeros(9)
    with pytest.raises(ValueError, match="not of this model"):
        second.on_load_checkpoint(None, network, {"callbacks": {second.state_key: second.state_dict()}})
