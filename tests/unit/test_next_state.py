"""The model of the next state, against forward passes and losses written by hand."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from cellstate.backbone import GRU, LSTM, RNN
from cellstate.data.batch import UNKNOWN, Batch, DataSpec, digest_text
from cellstate.errors import RequestError
from cellstate.metrics.tokens import IGNORED
from cellstate.model import NextState

WEATHER = DataSpec(vocabulary=(UNKNOWN, "rain", "snow", "sun"))
ROOMS = DataSpec(
    vocabulary=(UNKNOWN, "cook", "eat", "sleep"),
    features=((UNKNOWN, "kitchen", "bedroom"), (UNKNOWN, "cook", "eat", "sleep")),
    feature_names=("room", "deed"),
    target_feature=1,
)


def model(spec=WEATHER, backbone=LSTM, **options):
    torch.manual_seed(1)
    return NextState(spec, partial(backbone, hidden_size=7), **options).eval()


def batch(rows=5, steps=9, symbols=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, steps + 1, (rows,), generator=generator)
    inputs = torch.randint(0, symbols, (rows, steps), generator=generator)
    targets = torch.randint(0, symbols, (rows, steps), generator=generator)
    beyond = torch.arange(steps) >= lengths[:, None]
    return Batch(inputs.masked_fill(beyond, 0), targets.masked_fill(beyond, IGNORED), lengths)


def widened(found, by=4, value=3):
    pad = nn.functional.pad
    return Batch(pad(found.inputs, (0, by), value=value), pad(found.targets, (0, by), value=IGNORED), found.lengths)


def test_forward_is_embedding_lstm_and_linear():
    net, found = model(embedding_size=5), batch()
    embedding, lstm, linear = nn.Embedding(4, 5), nn.LSTM(5, 7, batch_first=True), nn.Linear(7, 4)
    embedding.load_state_dict(net.embeddings[0].state_dict())
    linear.load_state_dict(net.head.state_dict())
    ours = dict(net.backbone.named_parameters())
    for name, parameter in lstm.named_parameters():
        (same,) = (value for key, value in ours.items() if key.endswith(name))
        parameter.data.copy_(same.data)
    for row, length in enumerate(found.lengths.tolist()):  # each sequence by itself, without any padding
        outputs, _ = lstm(embedding(found.inputs[row : row + 1, :length]))
        expected = linear(outputs)[0]
        torch.testing.assert_close(net(found.inputs, found.lengths)[row, :length], expected)


def test_every_feature_has_an_embedding_of_its_own():
    net = model(ROOMS, embedding_size=[3, 2])
    assert [tuple(embedding.weight.shape) for embedding in net.embeddings] == [(3, 3), (4, 2)]
    assert net.backbone.input_size == 5
    inputs = torch.tensor([[[1, 2], [2, 3]]])
    joined = torch.cat((net.embeddings[0](inputs[..., 0]), net.embeddings[1](inputs[..., 1])), dim=-1)
    torch.testing.assert_close(net(inputs), net.head(net.backbone(joined)[0]))
    assert net(inputs).shape == (1, 2, 4)


def test_the_loss_is_the_mean_negative_log_probability_of_the_targets_that_count():
    net, found = model(), batch()
    logits = net(found.inputs, found.lengths).detach().double()
    surprises = [
        -math.log(math.exp(logits[row, step, answer]) / sum(math.exp(value) for value in logits[row, step].tolist()))
        for row, answers in enumerate(found.targets.tolist())
        for step, answer in enumerate(answers)
        if answer != IGNORED
    ]
    loss = net.loss(net.compute_output(found), found)
    assert float(loss.detach()) == pytest.approx(sum(surprises) / len(surprises), rel=1e-5)
    assert int(net.loss_weight(found)) == len(surprises) == int(found.lengths.sum())
    nothing = found._replace(targets=torch.full_like(found.targets, IGNORED))
    assert float(net.loss(net.compute_output(nothing), nothing).detach()) == 0


@pytest.mark.parametrize("backbone", [RNN, LSTM, GRU])
def test_padding_changes_neither_loss_nor_scores_nor_gradients(backbone):
    net, found = model(backbone=backbone), batch()
    results = []
    for one in (found, widened(found)):
        net.zero_grad()
        output = net.compute_output(one)
        net.loss(output, one).backward()
        scores = net.new_scores()
        net.update_scores(scores, output.detach(), one)
        results.append((scores.compute(), [parameter.grad.clone() for parameter in net.parameters()]))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for one, other in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(one, other)


def test_no_state_is_carried_from_batch_to_batch():
    net, found = model(), batch()
    first = net.compute_output(found)
    net.compute_output(batch(seed=3))
    assert torch.equal(net.compute_output(found), first)


def test_an_output_depends_on_nothing_that_comes_later():
    net, found = model(), batch(steps=9)
    changed = found.inputs.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 4
    assert torch.equal(net(found.inputs)[:, :5], net(changed)[:, :5])


def test_predictions_are_those_of_forward():
    net = model()
    found = net.predict([["rain", "sun", "snow"], ["sun"]])
    for row, sequence in enumerate(([1, 3, 2], [3])):
        expected = net(torch.tensor([sequence]))[0, -1].double()[1:].softmax(-1)  # the first stands for unknown states
        np.testing.assert_allclose(found["probabilities"][row], expected.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1.0)
    assert tuple(found["vocabulary"]) == WEATHER.vocabulary[1:]
    assert found["states"].tolist() == [found["vocabulary"][row.argmax()] for row in found["probabilities"]]


def test_predictions_at_every_step_are_those_of_the_beginnings():
    net, sequences = model(), [["rain", "sun", "snow"], ["sun"], ["snow", "snow"]]
    every = net.predict(sequences, every_step=True)
    for number, sequence in enumerate(sequences):
        beginnings = net.predict([sequence[: stop + 1] for stop in range(len(sequence))])
        np.testing.assert_allclose(every["probabilities"][number], beginnings["probabilities"], rtol=1e-5)
        assert every["states"][number].tolist() == beginnings["states"].tolist()


def test_one_sequence_is_given_as_a_line_a_list_or_an_array():
    net = model()
    expected = net.predict([["rain", "sun"]])["probabilities"]
    for given in ("rain sun", ["rain", "sun"], ("rain", "sun"), np.array(["rain", "sun"]), np.array([["rain", "sun"]])):
        assert np.array_equal(net.predict(given)["probabilities"], expected)


def test_several_features_are_given_as_tuples():
    net = model(ROOMS)
    one = net.predict([("kitchen", "cook"), ("bedroom", "sleep")])["probabilities"]
    two = net.predict([[("kitchen", "cook"), ("bedroom", "sleep")], [("kitchen", "eat")]])["probabilities"]
    np.testing.assert_allclose(two[0], one[0], rtol=1e-5)
    assert two.shape == (2, 3)  # of four symbols the first stands for unknown states


def test_what_stands_for_unknown_states_is_never_the_answer():
    net = model()
    with torch.no_grad():
        net.head.bias[0] = 100.0
    assert net.predict("rain")["states"][0] in WEATHER.vocabulary[1:]


@pytest.mark.parametrize(
    ("spec", "given", "said"),
    [
        (WEATHER, "rain sum", r"sequence 1, step 2: the state 'sum' is unknown to the model; did you mean 'sun'\?"),
        (WEATHER, [["sun"], ["fog"]], "sequence 2, step 1: the state 'fog' is unknown .*; available: rain, snow, sun"),
        (WEATHER, [["sun"], []], "sequence 2 is empty"),
        (WEATHER, [], "give a list of states"),
        (WEATHER, 7.5, "give a list of states"),
        (WEATHER, [[["sun"]]], "give a list of states"),
        (WEATHER, object(), "neither a state nor a list"),
        (ROOMS, "cook eat", "give a list of tuples of 2 states"),
        (ROOMS, [("kitchen", "cook"), ("bedroom",)], "step 2: has 1 feature.*takes 2: room, deed"),
        (ROOMS, [("kitchen", "cook"), "ab"], "step 2: has 1 feature.*takes 2: room, deed"),
        (ROOMS, [("kitchen", "cok")], r"step 1: the deed 'cok' is unknown to the model; did you mean 'cook'\?"),
    ],
)
def test_what_is_no_sequence_of_known_states_is_refused_in_one_line(spec, given, said):
    with pytest.raises(RequestError, match=said) as refused:
        model(spec).predict(given)
    assert len(refused.value.problems) == 1


def test_a_backbone_that_sees_the_next_state_is_refused():
    with pytest.raises(RequestError, match=r"backbone\.bidirectional=true"):
        NextState(WEATHER, partial(LSTM, hidden_size=4, bidirectional=True))


@pytest.mark.parametrize(("spec", "sizes"), [(WEATHER, [4, 4]), (ROOMS, [4]), (ROOMS, [4, 4, 4])])
def test_embedding_sizes_must_be_as_many_as_features(spec, sizes):
    with pytest.raises(RequestError, match=r"model\.embedding_size=.*one size for each|one number for all"):
        model(spec, embedding_size=sizes)


def test_data_without_a_vocabulary_is_refused():
    with pytest.raises(RequestError, match="needs vocabulary"):
        model(DataSpec(classes=("a", "b")))


def test_dropout_acts_in_training_alone():
    net, found = model(dropout=0.5), batch()
    assert torch.equal(net(found.inputs), net(found.inputs))
    net.train()
    assert not torch.equal(net(found.inputs), net(found.inputs))
    net.predict("rain")
    assert net.training


def test_a_specification_of_several_features_survives_a_checkpoint():
    plain = ROOMS.as_dict()
    assert plain["features"] == [[UNKNOWN, "kitchen", "bedroom"], [UNKNOWN, "cook", "eat", "sleep"]]
    assert DataSpec.from_dict(plain) == ROOMS
    other = DataSpec.from_dict({**plain, "features": [[UNKNOWN, "kitchen", "hall"], plain["features"][1]]})
    assert digest_text(other) != digest_text(ROOMS)
