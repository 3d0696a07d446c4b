"""Pooling: one vector of the valid steps, whatever stands on the padding."""

from functools import partial
from typing import get_args

import pytest
import torch

from cellstate.backbone import GRU, LSTM
from cellstate.data.batch import DataSpec
from cellstate.errors import RequestError
from cellstate.model import Classifier
from cellstate.model.pooling import Pooling, PoolingKind

KINDS = get_args(PoolingKind)
LENGTHS = torch.tensor([7, 3, 1, 5])


def pooling(how, bidirectional=False, size=3):
    torch.manual_seed(0)
    return Pooling(GRU(input_size=2, hidden_size=size, bidirectional=bidirectional), how).double()


def outputs(width, steps=7, fill=None):
    values = torch.randn(4, steps, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if fill is not None:
        values[torch.arange(steps) >= LENGTHS[:, None]] = fill
    return values


def row_by_row(module, values):
    """Pool the valid steps of each row alone, by the definitions."""
    half = values.shape[-1] // 2
    rows = []
    for row, length in zip(values, LENGTHS.tolist(), strict=True):
        steps = [row[step] for step in range(length)]
        if module.how == "last":
            rows.append(torch.cat((steps[-1][:half], steps[0][half:])) if module.bidirectional else steps[-1])
        elif module.how == "mean":
            rows.append(sum(steps) / length)
        elif module.how == "max":
            rows.append(torch.stack(steps).max(0).values)
        else:
            matrix, bias, query = module.projection.weight, module.projection.bias, module.query.weight[0]
            scores = [torch.dot(torch.tanh(matrix @ step + bias), query).exp() for step in steps]
            rows.append(sum(score * step for score, step in zip(scores, steps, strict=True)) / sum(scores))
    return torch.stack(rows)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("how", KINDS)
def test_the_vector_is_that_of_the_valid_steps_of_each_row(how, bidirectional):
    module = pooling(how, bidirectional)
    values = outputs(6 if bidirectional else 3)
    torch.testing.assert_close(module(values, LENGTHS), row_by_row(module, values), atol=1e-14, rtol=0)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("how", KINDS)
def test_rows_without_lengths_are_full(how, bidirectional):
    module = pooling(how, bidirectional)
    values = outputs(6 if bidirectional else 3)
    torch.testing.assert_close(module(values), module(values, torch.full((4,), 7)), atol=1e-15, rtol=0)


@pytest.mark.parametrize("fill", [0.0, 1e30, float("inf"), float("nan")])
@pytest.mark.parametrize("how", KINDS)
def test_what_stands_on_the_padding_changes_not_a_bit(how, fill):
    module = pooling(how)
    assert torch.equal(module(outputs(3, fill=fill), LENGTHS), module(outputs(3, fill=2.0), LENGTHS))


@pytest.mark.parametrize("how", KINDS)
def test_more_padding_changes_nothing(how):
    module = pooling(how)
    longer = torch.cat((outputs(3), torch.full((4, 50, 3), 9.0).double()), dim=1)
    torch.testing.assert_close(module(longer, LENGTHS), module(outputs(3), LENGTHS), atol=1e-14, rtol=0)


@pytest.mark.parametrize("how", KINDS)
def test_the_gradient_at_the_padding_is_exactly_zero_and_all_steps_of_mean_and_attention_have_one(how):
    module = pooling(how)
    values = outputs(3, fill=5.0).requires_grad_()
    module(values, LENGTHS).square().sum().backward()
    valid = torch.arange(7) < LENGTHS[:, None]
    assert torch.count_nonzero(values.grad[~valid]) == 0
    assert torch.isfinite(values.grad).all()
    if how in ("mean", "attention"):
        assert (values.grad[valid].abs().sum(-1) > 0).all()


# ---------------------------------------------------------------------- attention


def test_attention_weights_are_shares_and_exactly_zero_on_the_padding():
    module, values = pooling("attention"), outputs(3, fill=float("nan"))
    weights = module.weights(values, LENGTHS)
    assert weights.shape == (4, 7)
    torch.testing.assert_close(weights.sum(1), torch.ones(4).double())
    padding = torch.arange(7) >= LENGTHS[:, None]
    assert torch.count_nonzero(weights[padding]) == 0
    assert (weights[~padding] > 0).all()
    vector = (weights.unsqueeze(-1) * values.nan_to_num()).sum(1)
    torch.testing.assert_close(module(values, LENGTHS), vector)


def test_attention_learns_which_step_counts():
    # One step in ten bears a mark; its value is the target, which no mean over the steps can give.
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(256, 10, 2, generator=generator)
    place = torch.randint(10, (256,), generator=generator)
    values[..., 1] = torch.nn.functional.one_hot(place, 10)
    wanted = values[torch.arange(256), place, 0]
    module = pooling("attention", size=2).float()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        error = (module(values)[:, 0] - wanted).square().mean()
        error.backward()
        optimizer.step()
    assert error < 0.1 * (values[..., 0].mean(1) - wanted).square().mean()
    assert (module.weights(values).argmax(1) == place).float().mean() > 0.95


def test_only_attention_has_parameters_and_weights():
    for how in ("last", "mean", "max"):
        assert not pooling(how).state_dict()  # checkpoints of these hold what they did before there was attention
        with pytest.raises(ValueError, match="attention"):
            pooling(how).weights(outputs(3))
    assert set(pooling("attention").state_dict()) == {"projection.weight", "projection.bias", "query.weight"}


def test_an_unknown_pooling_is_refused():
    with pytest.raises(RequestError, match=r"model\.pooling=atention: unknown pooling; did you mean 'attent"):
        pooling("atention")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_classifier_shows_how_much_each_step_counts(bidirectional):
    torch.manual_seed(0)
    spec = DataSpec(input_size=3, classes=("a", "b"))
    backbone = partial(LSTM, hidden_size=4, bidirectional=bidirectional)
    model = Classifier(spec, backbone, pooling="attention")
    inputs = torch.randn(4, 7, 3)
    weights = model.attention(inputs, LENGTHS)
    assert weights.shape == (4, 7)
    assert not weights[torch.arange(7) >= LENGTHS[:, None]].any()
    hidden, _ = model.backbone(inputs, lengths=LENGTHS)
    vector = (torch.from_numpy(weights).float().unsqueeze(-1) * hidden).sum(1)
    torch.testing.assert_close(model.head(vector), model(inputs, LENGTHS), atol=1e-6, rtol=1e-5)
    assert model.attention(inputs[1, :3]) == pytest.approx(weights[1, :3], abs=1e-6)
    with pytest.raises(RequestError, match=r"model\.pooling=attention"):
        Classifier(spec, backbone).attention(inputs)
