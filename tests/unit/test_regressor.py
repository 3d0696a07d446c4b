"""The regressor: a network held against one written by hand, units that come back, and data that it refuses."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from cellstate.backbone import GRU, LSTM, RNN
from cellstate.data.batch import Batch, DataSpec
from cellstate.errors import RequestError
from cellstate.model import Classifier, Forecaster, Regressor

SPEC = DataSpec(input_size=3, targets=("mass", "charge"), mean=(50.0, -3.0), std=(4.0, 0.2))
POOLINGS = ("last", "mean", "max", "attention")


def regressor(backbone=GRU, spec=SPEC, pooling="last", loss="mse", **options):
    torch.manual_seed(0)
    return Regressor(spec, partial(backbone, hidden_size=5, **options), pooling=pooling, loss=loss).eval()


def padded(fill=0.0, steps=9):
    lengths = torch.tensor([9, 4, 1, 6])
    inputs = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(1))
    inputs = torch.cat((inputs, torch.zeros(4, steps - 9, 3)), dim=1)
    inputs[torch.arange(steps) >= lengths[:, None]] = fill
    return inputs, lengths


# ---------------------------------------------------------------------- the network


def test_it_is_a_gru_and_a_linear_map_of_its_last_state():
    model = regressor()
    gru, linear = nn.GRU(3, 5, batch_first=True), nn.Linear(5, 2)
    gru.load_state_dict(model.backbone.network.state_dict())
    linear.load_state_dict(model.head.state_dict())
    inputs, lengths = padded()
    expected = torch.cat([linear(gru(row[None, :length])[1][0]) for row, length in zip(inputs, lengths, strict=True)])
    torch.testing.assert_close(model(inputs, lengths), expected, atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(
        model.predict(inputs, lengths),
        expected.detach().double().numpy() * [4.0, 0.2] + [50.0, -3.0],
        rtol=1e-5,
    )


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("backbone", [RNN, LSTM, GRU])
def test_a_padded_row_has_the_values_that_it_has_alone(backbone, bidirectional, pooling):
    model = regressor(backbone, pooling=pooling, bidirectional=bidirectional)
    inputs, lengths = padded(fill=float("nan"), steps=14)
    found = model(inputs, lengths)
    for row, length, values in zip(inputs, lengths, found, strict=True):
        torch.testing.assert_close(model(row[None, :length])[0], values, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_changes_no_gradient(pooling):
    model, found = regressor(pooling=pooling), []
    for inputs, lengths in (padded(), padded(1e6, steps=14)):
        model.zero_grad()
        model.loss(model(inputs, lengths), Batch(inputs, torch.randn(4, 2).fill_(0.3), lengths)).backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["mse", "mae", "huber"])
def test_losses_are_means_over_samples_and_targets(name):
    model = regressor(loss=name)
    output, truth = (torch.randn(6, 2, generator=torch.Generator().manual_seed(seed)) * 2 for seed in (0, 1))
    values = []
    for error in (output - truth).abs().double().flatten().tolist():
        values.append({"mae": error, "mse": error**2, "huber": error**2 / 2 if error < 1 else error - 0.5}[name])
    batch = Batch(truth, truth)
    assert model.loss(output, batch).item() == pytest.approx(np.mean(values), rel=1e-6)
    scores = model.new_scores()
    model.update_scores(scores, output, batch)
    assert scores.compute()["loss"] == pytest.approx(np.mean(values), rel=1e-6)


# ---------------------------------------------------------------------- units and shapes


def test_targets_come_back_in_their_own_units():
    # A network whose head gives z-scores exactly: what is scored and predicted must be the values themselves.
    values = np.array([[1e9 + 0.25, -3e-4], [1e9 - 1.5, 2e-4]])
    spec = DataSpec(input_size=1, targets=("large", "small"), mean=(1e9, 1e-4), std=(2.0, 3e-4))
    model = regressor(spec=spec)
    z = torch.from_numpy((values - spec.mean) / spec.std).float()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(z[0])
    np.testing.assert_allclose(model.predict([[0.0, 1.0]]) - [1e9, 0], values[:1] - [1e9, 0], rtol=1e-6)
    scores = model.new_scores()
    scores.update(z, z)
    for joined in scores.joined():
        np.testing.assert_allclose(joined - [1e9, 0], values - [1e9, 0], rtol=1e-6)


def test_predictions_take_lists_arrays_and_tensors_of_one_or_several_sequences():
    model = regressor()
    inputs, lengths = padded()
    whole = model.predict(inputs, lengths)
    assert whole.shape == (4, 2)
    assert whole.dtype == np.float64
    for same in (inputs.numpy(), inputs.tolist(), inputs.double()):
        np.testing.assert_allclose(model.predict(same, lengths.tolist()), whole)
    alone = model.predict(inputs[1, :4])
    assert alone.shape == (2,)
    np.testing.assert_allclose(alone, whole[1], rtol=1e-6)
    assert model.predict(inputs[1:2, :4]).shape == (1, 2)


def test_sequences_of_one_feature_need_no_last_dimension():
    model = regressor(spec=DataSpec(input_size=1, targets=("a",), mean=(0.0,), std=(1.0,)))
    rows = [[0.1, 1.0, -1.0], [0.0, 2.0, 0.5]]
    whole = model.predict(rows)
    assert whole.shape == (2, 1)
    np.testing.assert_array_equal(model.predict(np.array(rows)[..., None]), whole)
    np.testing.assert_allclose(model.predict(rows[1]), whole[1], atol=1e-7)


def test_inputs_that_were_scaled_in_training_are_scaled_in_use():
    scaled = DataSpec(**{**SPEC.__dict__, "input_mean": (1e9, 0.0, 5.0), "input_std": (2.0, 1.0, 0.5)})
    inputs, _ = padded()
    own = inputs.double().numpy() * [2.0, 1.0, 0.5] + [1e9, 0.0, 5.0]
    np.testing.assert_allclose(regressor(spec=scaled).predict(own), regressor().predict(inputs), rtol=1e-6)


# ---------------------------------------------------------------------- what it is for


@pytest.mark.parametrize(
    ("model", "spec", "said"),
    [
        (Regressor, DataSpec(input_size=3, classes=("a", "b")), "model=Regressor: needs targets, which this data does"),
        (Regressor, DataSpec(input_size=3, vocabulary=("a", "b")), "model=Regressor: needs targets"),
        (Forecaster, SPEC, "model=Forecaster: needs horizon, which this data does not have; choose a model for its"),
        (Classifier, SPEC, "model=Classifier: needs classes, which this data does not have"),
        (
            Regressor,
            DataSpec(targets=("load",), window=12, horizon=5, mean=(0.0,), std=(1.0,)),
            "model=Regressor: this data is for forecasting 5 steps, not for predicting values of a sequence; "
            "set model=forecaster",
        ),
    ],
)
def test_data_of_another_task_is_refused_in_one_line(model, spec, said):
    with pytest.raises(RequestError) as caught:
        model(spec, partial(GRU, hidden_size=4))
    (problem,) = caught.value.problems
    assert problem.startswith(said)
