"""The classifier: what stands for a sequence, what padding may not do, what the training loss is a mean of."""

from functools import partial

import lightning as L
import numpy as np
import pytest
import torch
from tests.rounding import rounding
from torch import nn

from cellstate.backbone import GRU, LSTM, RNN
from cellstate.data.batch import Batch, DataSpec
from cellstate.data.datamodule import Prepared, SequenceData
from cellstate.data.samples import TensorSamples
from cellstate.errors import RequestError
from cellstate.model import Classifier

SPEC = DataSpec(input_size=3, classes=("cat", "dog", "eel"))
POOLINGS = ("last", "mean", "max", "attention")


def classifier(backbone=LSTM, pooling="last", spec=SPEC, **options):
    torch.manual_seed(0)
    model = Classifier(spec, partial(backbone, hidden_size=5, **options), pooling=pooling)
    return model.eval()


def padded(fill=0.0, steps=9):
    lengths = torch.tensor([9, 4, 1, 6])
    inputs = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(1))
    inputs = torch.cat((inputs, torch.zeros(4, steps - 9, 3)), dim=1)
    inputs[torch.arange(steps) >= lengths[:, None]] = fill
    return inputs, lengths


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("backbone", [RNN, LSTM, GRU])
def test_the_vector_of_a_sequence_is_what_each_row_alone_gives(backbone, bidirectional, pooling):
    model = classifier(backbone, pooling, bidirectional=bidirectional)
    inputs, lengths = padded()
    expected = []
    for row, length in zip(inputs, lengths.tolist(), strict=True):
        outputs, state = model.backbone.network(row[None, :length])  # torch's own module, without padding
        hidden = state[0] if backbone is LSTM else state
        vector = {
            # the final hidden states, each of which has read everything
            "last": torch.cat((hidden[0], hidden[1]), 1) if bidirectional else hidden[0],
            "mean": outputs.sum(1) / length,
            "max": outputs.max(1).values,
            "attention": model.pooling(outputs),  # without padding; test_pooling.py holds it against its definition
        }[pooling]
        expected.append(nn.functional.linear(vector, model.head.weight, model.head.bias))
    torch.testing.assert_close(model(inputs, lengths), torch.cat(expected), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_full_lengths_are_no_lengths(bidirectional, pooling):
    model = classifier(pooling=pooling, bidirectional=bidirectional, num_layers=2)
    inputs = torch.randn(4, 9, 3)
    torch.testing.assert_close(model(inputs), model(inputs, torch.full((4,), 9)), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("fill", [1e6, float("nan")])
def test_padding_changes_neither_logits_nor_gradients(bidirectional, pooling, fill):
    model = classifier(pooling=pooling, bidirectional=bidirectional)
    found = []
    for inputs, lengths in (padded(), padded(fill, steps=14)):
        model.zero_grad()
        logits = model(inputs, lengths)
        model.loss(logits, Batch(inputs, torch.tensor([0, 2, 1, 1]), lengths)).backward()
        found.append((logits, [parameter.grad.clone() for parameter in model.parameters()]))
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-5)


def test_both_ends_of_a_sequence_reach_a_bidirectional_classifier_by_every_pooling():
    for pooling in POOLINGS:
        model = classifier(pooling=pooling, bidirectional=True)
        inputs, lengths = padded()
        inputs.requires_grad_()
        model(inputs, lengths).sum().backward()
        for row, length in enumerate(lengths.tolist()):
            assert inputs.grad[row, 0].abs().max() > 1e-6
            assert inputs.grad[row, length - 1].abs().max() > 1e-6
            assert inputs.grad[row, length:].abs().sum() == 0


def test_the_loss_is_the_cross_entropy_in_nats():
    model = classifier()
    logits, targets = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    by_hand = [-(row[goal] - row.exp().sum().log()) for row, goal in zip(logits.double(), targets, strict=True)]
    assert model.loss(logits, Batch(logits, targets)).item() == pytest.approx(torch.stack(by_hand).mean().item())


# ---------------------------------------------------------------------- predict


def test_predictions_take_lists_arrays_and_tensors_of_one_or_several_sequences():
    model = classifier()
    inputs, lengths = padded()
    whole = model.predict(inputs, lengths)
    assert whole["probabilities"].shape == (4, 3)
    np.testing.assert_allclose(whole["probabilities"].sum(1), 1)
    np.testing.assert_allclose(
        whole["probabilities"], model(inputs, lengths).detach().double().softmax(1), rtol=1e-6, atol=1e-12
    )
    np.testing.assert_array_equal(whole["classes"], whole["probabilities"].argmax(1))
    assert [SPEC.classes[number] for number in whole["classes"]] == whole["labels"].tolist()
    for same in (inputs.numpy(), inputs.tolist(), inputs.double()):
        np.testing.assert_allclose(model.predict(same, lengths.tolist())["probabilities"], whole["probabilities"])
    alone = model.predict(inputs[1, :4])
    np.testing.assert_allclose(alone["probabilities"], whole["probabilities"][1], atol=rounding(9 * (3 + 5) + 5))


def test_one_sequence_alone_is_answered_without_the_first_dimension():
    model = classifier()
    inputs, _ = padded()
    alone, batch = model.predict(inputs[0]), model.predict(inputs[:1])
    assert (alone["classes"].shape, alone["probabilities"].shape) == ((), (3,))
    assert (batch["classes"].shape, batch["labels"].shape, batch["probabilities"].shape) == ((1,), (1,), (1, 3))
    assert isinstance(alone["labels"], str)
    assert alone["labels"] == batch["labels"][0] == SPEC.classes[alone["classes"]]
    np.testing.assert_array_equal(alone["probabilities"], batch["probabilities"][0])


def test_predictions_scale_what_training_scaled():
    spec = DataSpec(input_size=2, classes=("no", "yes"), input_mean=(1e9, -3.0), input_std=(0.5, 20.0))
    model, plain = (classifier(spec=one) for one in (spec, DataSpec(input_size=2, classes=("no", "yes"))))
    scores = np.random.default_rng(0).normal(size=(3, 8, 2))
    raw = scores * np.array([0.5, 20.0]) + np.array([1e9, -3.0])
    for batch in (slice(None), 0):
        np.testing.assert_allclose(
            model.predict(raw[batch])["probabilities"], plain.predict(scores[batch])["probabilities"], atol=1e-6
        )


def test_values_that_the_data_does_not_have_are_refused_but_on_the_padding():
    model = classifier(spec=DataSpec(input_size=1, classes=("no", "yes"), input_values=(0.0, 1.0)))
    with pytest.raises(RequestError, match=r"contain 2 in sequence 1, step 2 \(from 0\); .* only the values 0, 1$"):
        model.predict([[0, 1, 1, 0], [1, 1, 2, 0]])
    known = model.predict([[0, 1, 1, 0], [1, 1, 0, 0]], [4, 2])
    same = model.predict([[0, 1, 1, 0], [1, 1, 2, -7]], [4, 2])
    np.testing.assert_array_equal(known["probabilities"], same["probabilities"])


def test_sequences_of_one_feature_need_no_last_dimension():
    model = classifier(spec=DataSpec(input_size=1, classes=("no", "yes")))
    bits = [[0, 1, 1, 0, 1], [1, 0, 0, 0, 1]]
    whole, within = model.predict(bits)["probabilities"], rounding(5 * (1 + 5) + 5)  # five steps, five units
    np.testing.assert_array_equal(model.predict(np.array(bits)[..., None])["probabilities"], whole)
    np.testing.assert_allclose(model.predict(bits[1])["probabilities"], whole[1], atol=within)
    np.testing.assert_allclose(model.predict(np.array(bits[1])[:, None])["probabilities"], whole[1], atol=within)


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 5, 4), (1, 2, 5, 3), (0, 3), (2, 0, 3)])
def test_inputs_of_another_shape_are_refused(shape):
    with pytest.raises(RequestError, match="do not match"):
        classifier().predict(np.zeros(shape))


# ---------------------------------------------------------------------- training


class Toy(SequenceData):
    """Random sequences of three classes."""

    def __init__(self, rows, batch_size):
        super().__init__(batch_size=batch_size)
        self.rows = rows

    def prepare(self):
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(self.rows, 6, 3, generator=generator)
        targets = torch.randint(3, (self.rows,), generator=generator)
        samples = TensorSamples(inputs, targets)
        return Prepared(SPEC, {"train": samples, "val": samples})


def trained(data, learning_rate=0.0, epochs=1):
    torch.manual_seed(0)
    optimizer = partial(torch.optim.SGD, lr=learning_rate)
    model = Classifier(data.spec, partial(GRU, hidden_size=4), optimizer=optimizer)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=data)
    return model


@pytest.mark.parametrize(("rows", "batch_size"), [(65, 64), (50, 8), (48, 8), (7, 7)])
def test_the_training_loss_is_the_mean_over_samples(rows, batch_size):
    # At a rate of 0 the weights stand still, and the mean over an epoch is the loss on the split.
    model = trained(Toy(rows, batch_size), epochs=2)
    assert model.results["train"]["loss"] == pytest.approx(model.results["val"]["loss"], rel=1e-5)


def test_results_are_those_of_the_newest_pass():
    data = Toy(40, 8)
    model = trained(data, learning_rate=0.5, epochs=3)
    samples = data.prepared.splits["val"]
    with torch.no_grad():
        logits = model.eval()(samples.inputs)
    loss = nn.functional.cross_entropy(logits, samples.targets).item()
    assert model.results["val"]["loss"] == pytest.approx(loss, rel=1e-5)
    assert set(model.results) == {"train", "val"}
    assert set(model.results["val"]) == {"loss", "accuracy", "f1", "auroc"}
    assert len(model.last_scores.confusion()) == 3
