"""The convolutional classifier: padding, views, pooling, augmentation, fixed kernels, and what it is good for."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from cellstate.backbone import GRU, LSTM
from cellstate.data.batch import Batch, DataSpec
from cellstate.errors import RequestError
from cellstate.inspection.analysis.captured import capture
from cellstate.model import ConvolutionalClassifier
from cellstate.model.classification.augmentation import Augmentation, interpolated, warped
from cellstate.model.classification.kernels import GAIN, FixedKernels, RunningScale
from cellstate.model.classification.normalisation import Views
from cellstate.model.classification.stem import ConvolutionalStem, MaskedBatchNorm, pooling_of
from cellstate.model.pooling import padded_steps

LENGTHS = torch.tensor([41, 17, 1, 30])


def classifier(longest=41, backbone=LSTM, **options):
    torch.manual_seed(0)
    spec = DataSpec(input_size=2, classes=("a", "b", "c"), longest=longest)
    small = {"channels": (6, 8, 4), "kernel_sizes": (9, (5, 3), 3), "most_steps": 12}
    return ConvolutionalClassifier(spec, partial(backbone, hidden_size=5, bidirectional=True), **{**small, **options})


def padded(fill=0.0, steps=41):
    inputs = torch.randn(4, 41, 2, generator=torch.Generator().manual_seed(1))
    inputs = functional.pad(inputs, (0, 0, 0, steps - 41))
    return inputs.masked_fill(padded_steps(inputs, LENGTHS), fill)


def trained(model):
    """The same model after some steps, so that its running statistics are those of data."""
    model.train()
    for _ in range(3):
        model.compute_output(Batch(padded(), torch.empty(0), LENGTHS))
    return model.eval()


# ---------------------------------------------------------------------- padding


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("backbone", [LSTM, GRU])
def test_each_row_of_a_padded_batch_is_what_it_is_alone(backbone, pooling):
    model = trained(classifier(backbone=backbone, pooling=pooling))
    assert model.stride == 4
    alone = [model(row[None, :length]) for row, length in zip(padded(), LENGTHS.tolist(), strict=True)]
    torch.testing.assert_close(model(padded(), LENGTHS), torch.cat(alone), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fill", [1e6, float("nan")])
def test_padding_changes_neither_losses_nor_gradients_nor_statistics(fill, training):
    found = []
    for inputs in (padded(), padded(fill, steps=50)):
        model = trained(classifier(jitter=0.0, dropout=0.0)).train(training)
        batch = Batch(inputs, torch.tensor([0, 2, 1, 1]), LENGTHS)
        loss = model.loss(model.compute_output(batch), batch)
        loss.backward()
        found.append((loss, [weight.grad for weight in model.parameters()], list(model.buffers())))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def test_batch_normalisation_of_padded_rows_is_that_of_their_valid_steps_joined():
    torch.manual_seed(0)
    inputs = torch.randn(4, 3, 41) * 3 + 1
    padding = padded_steps(inputs.transpose(1, 2), LENGTHS).transpose(1, 2)
    ours, plain = MaskedBatchNorm(3), torch.nn.BatchNorm1d(3)
    joined = torch.cat([row[:, :length] for row, length in zip(inputs, LENGTHS.tolist(), strict=True)], dim=1).T
    outputs, expected = ours(inputs, padding), plain(joined)
    valid = ~padding.squeeze(1)
    torch.testing.assert_close(outputs.transpose(1, 2)[valid], expected)
    assert not outputs.transpose(1, 2)[~valid].any()
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())


def test_a_single_step_has_no_variance_and_takes_the_running_one():
    norm = MaskedBatchNorm(3)
    torch.testing.assert_close(norm(torch.ones(1, 3, 1)), torch.ones(1, 3, 1) / (1 + norm.eps) ** 0.5)


# ---------------------------------------------------------------------- views


def test_views_follow_their_equations():
    row = np.random.default_rng(0).normal(size=(20, 2)) * [3, 0.2] + [5, -1]
    values = torch.from_numpy(row).float()[None]
    found = Views(2, ("values", "standardised", "differences"))(values)[0].double().numpy()
    z = (row - row.mean(0)) / row.std(0)
    change = np.diff(z, axis=0, prepend=z[:1])
    expected = np.concatenate([row, z, change / np.sqrt((change**2).mean(0))], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_level_and_scale_are_in_the_values_alone():
    views = Views(2, ("values", "standardised", "differences"))
    values = torch.randn(3, 30, 2)
    one, other = views(values), views(values * 7 - 4)
    assert (one[..., :2] - other[..., :2]).abs().max() > 1
    torch.testing.assert_close(one[..., 2:], other[..., 2:], atol=1e-3, rtol=1e-3)


def test_a_feature_that_never_changes_is_zero():
    assert not Views(1, ("standardised", "differences"))(torch.full((2, 9, 1), 5.0)).any()


# ---------------------------------------------------------------------- stem


@pytest.mark.parametrize(("steps", "most"), [(0, 100), (1, 1), (100, 100), (101, 100), (1460, 100), (10_000, 7)])
def test_pooling_leaves_at_most_so_many_steps_and_no_fewer_than_half(steps, most):
    pools = pooling_of(3, steps, most)
    left = -(-steps // int(np.prod(pools)))
    assert left <= most
    assert int(np.prod(pools)) == 1 or 2 * left > most / 2
    assert max(pools) <= 2 * min(pools)


def test_a_step_of_the_backbone_depends_on_its_receptive_field_and_on_nothing_else():
    torch.manual_seed(0)
    stem = ConvolutionalStem(1, (4, 4), (9, 3), steps=64, most_steps=16).eval()  # pools 2 and 2
    inputs = torch.randn(1, 64, 1, requires_grad=True)
    outputs, _, _ = stem(inputs)
    assert outputs.shape[1] == 16
    (gradient,) = torch.autograd.grad(outputs[0, 8].sum(), inputs)
    seen = gradient[0, :, 0].nonzero().flatten()
    # Output 8 is of steps 16 and 17 of the second block, which see 15 to 18 of the first: steps 30 to 37, and 4 more.
    assert seen.min() >= 26
    assert seen.max() <= 41


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"views": ("value",)}, "model.views=value: unknown view; did you mean 'values'"),
        ({"views": ()}, "model.views: give at least one"),
        ({"kernel_sizes": (9, 4, 3)}, "should be odd numbers"),
        ({"kernel_sizes": (9, 3)}, "should be lists of the same length"),
        ({"channels": (6, 1, 4)}, "1 are too few for 2 kernels"),
    ],
)
def test_sizes_that_do_not_fit_are_one_line(options, error):
    with pytest.raises(RequestError, match=error):
        classifier(**options)


# ---------------------------------------------------------------------- augmentation


def test_a_warp_keeps_the_order_of_steps_and_both_ends():
    torch.manual_seed(0)
    time = torch.linspace(0, 1, 101).expand(50, -1)
    places = warped(time, 0.8 * torch.randn(50, 4))
    assert (places.diff(dim=1) > 0).all()
    torch.testing.assert_close(places[:, [0, -1]], torch.tensor([[0.0, 1.0]]).expand(50, -1))
    assert (places - time).abs().max() > 0.1
    torch.testing.assert_close(warped(time, torch.zeros(50, 4)), time, atol=1e-5, rtol=0)


def test_the_logarithm_of_the_speed_has_the_deviation_that_is_asked_for():
    torch.manual_seed(0)
    module, steps = Augmentation(time_warp=0.3).train(), 2001
    ramp = torch.linspace(0, 1, steps).view(1, -1, 1).expand(400, -1, -1)
    speed = module(ramp).squeeze(-1).diff(dim=1) * (steps - 1)
    assert speed[:, 500:1500].log().std().item() == pytest.approx(0.3, rel=0.15)


def test_straight_lines_are_interpolated_exactly():
    rows = torch.arange(10.0).view(1, 10, 1) * 2 + 1
    places = torch.tensor([[0.0, 0.25, 4.5, 8.75, 9.0]])
    torch.testing.assert_close(interpolated(rows, places)[0, :, 0], places[0] * 2 + 1)


@pytest.mark.parametrize(
    "options", [{"time_warp": 0.5}, {"window_slice": 0.9}, {"time_warp": 0.3, "window_slice": 0.3}]
)
def test_what_is_read_anew_stays_within_the_valid_steps(options):
    torch.manual_seed(0)
    module = Augmentation(**options).train()
    for _ in range(20):
        found = module(padded(float("nan")), LENGTHS)
        inside = ~padded_steps(found, LENGTHS).squeeze(-1)
        assert torch.isfinite(found[inside]).all()
        for row, original in zip(found, padded(), strict=True):
            assert row.nan_to_num().max() <= original.max()


def test_jitter_and_scale_have_the_deviations_that_are_asked_for():
    torch.manual_seed(0)
    inputs = torch.randn(2000, 50, 2) * torch.tensor([1.0, 100.0])
    noise = Augmentation(jitter=0.1).train()(inputs) - inputs
    torch.testing.assert_close(noise.std((0, 1)), torch.tensor([0.1, 10.0]), rtol=0.05, atol=0)
    factors = Augmentation(scale=0.2).train()(inputs) / inputs
    assert factors.std(1).max() < 1e-3
    assert factors[:, 0, 0].std().item() == pytest.approx(0.2, rel=0.1)


def test_some_sequences_are_left_as_they_are_and_all_in_evaluation():
    torch.manual_seed(0)
    inputs = torch.randn(1000, 20, 1)
    module = Augmentation(jitter=0.1, time_warp=0.2, augmented=0.3)
    same = (module.train()(inputs) == inputs).all(2).all(1)
    assert same.float().mean().item() == pytest.approx(0.7, abs=0.05)
    assert torch.equal(module.eval()(inputs), inputs)


def test_the_draws_are_those_of_the_generator_that_checkpoints_hold():
    module, inputs = Augmentation(jitter=0.1, scale=0.1, time_warp=0.2, window_slice=0.1, augmented=0.5), padded()
    state = torch.get_rng_state()
    first = module.train()(inputs, LENGTHS)
    torch.set_rng_state(state)
    assert torch.equal(module(inputs, LENGTHS), first)


# ---------------------------------------------------------------------- fixed kernels


def test_features_are_the_shares_of_a_loop_over_kernels_and_steps():
    torch.manual_seed(0)
    module = FixedKernels(features=1, views=1, steps=20).train()
    assert module.dilations == (1, 2)
    inputs = torch.randn(5, 20, 1)
    found = module(inputs).double().numpy()
    shares = []
    for dilation in module.dilations:
        responses = np.zeros((84, 5, 20))
        for number, high in enumerate(itertools.combinations(range(9), 3)):
            weights = np.array([2 if place in high else -1 for place in range(9)])
            for row, step in itertools.product(range(5), range(20)):
                seen = [step + (place - 4) * dilation for place in range(9)]
                values = [inputs[row, at, 0].item() if 0 <= at < 20 else 0.0 for at in seen]
                responses[number, row, step] = weights @ values
        mean, deviation = responses.mean((1, 2)), responses.std((1, 2))
        shares += [(responses > (mean + q * deviation)[:, None, None]).mean(2).T for q in (-0.6745, 0, 0.6745)]
    joined = np.concatenate(shares, axis=1)
    expected = (joined - joined.mean(0)) / (joined.std(0) + 0.01) * GAIN / joined.shape[1] ** 0.5
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_running_statistics_are_the_means_over_all_batches():
    torch.manual_seed(0)
    scale, batches = RunningScale(3).train(), torch.randn(7, 3, 40)
    for batch in batches:
        mean, deviation = scale(batch.mean(1), batch.square().mean(1))
    every = batches.transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, every.mean(1))
    torch.testing.assert_close(deviation, every.std(1, correction=0))
    before = scale.mean.clone()
    scale.eval()(torch.ones(3), torch.ones(3))
    assert torch.equal(scale.mean, before)


def test_the_answer_is_the_normalised_geometric_mean_of_both_heads():
    model = trained(classifier())
    heads = model.by_head(padded(), LENGTHS).softmax(-1).double()
    product = (heads[0] * heads[1]).sqrt()
    torch.testing.assert_close(
        model(padded(), LENGTHS).softmax(-1).double(), product / product.sum(1, keepdim=True), atol=1e-6, rtol=1e-5
    )


def test_the_training_loss_is_the_mean_of_the_heads_with_smoothed_targets():
    model = trained(classifier(label_smoothing=0.2)).train()
    batch = Batch(padded(), torch.tensor([0, 2, 1, 1]), LENGTHS)
    output = model.compute_output(batch)
    wanted = 0.8 * functional.one_hot(batch.targets, 3) + 0.2 / 3
    expected = -(wanted * output.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(model.loss(output, batch), expected)
    model.eval()
    logits = model.compute_output(batch)
    torch.testing.assert_close(model.loss(logits, batch), functional.cross_entropy(logits, batch.targets))


# ---------------------------------------------------------------------- inspection


def test_a_step_of_the_network_is_inspected_as_the_patch_that_it_reads():
    model = trained(classifier())
    batch = Batch(padded(), torch.tensor([0, 2, 1, 1]), LENGTHS)
    inspector = model.inspector
    assert inspector.patch == model.stride == 4
    for row, length in enumerate(LENGTHS.tolist()):
        with torch.no_grad():  # as the command calls them
            reading, answers = inspector.reading(batch, row), inspector.answers(batch, row)
        patches = -(-length // 4)
        assert len(reading.names) == len(answers.values) == patches
        assert reading.segment == 4
        np.testing.assert_array_equal(reading.values[:length], padded()[row, :length].double())
        assert (reading.values[length:] == reading.values[length - 1]).all()
        whole = model(padded(), LENGTHS)[row].double().softmax(0).detach()
        np.testing.assert_allclose(answers.values[-1], whole, atol=1e-5)
    captured = capture(model, batch)
    assert captured.inputs.shape[:2] == (4, 11)
    assert captured.states().valid.sum(1).tolist() == [11, 5, 1, 8]


def test_attention_weighs_the_steps_of_the_network():
    model = trained(classifier(pooling="attention"))
    weights = model.attention(padded().numpy(), LENGTHS)
    assert weights.shape == (4, 11)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    assert (weights[1, 5:] == 0).all()


# ---------------------------------------------------------------------- what it is good for


def shapes(count, seed):
    """Noise with a rising or a falling saw tooth of eight steps at a random place; the class is which."""
    random = np.random.default_rng(seed)
    rows, tooth = random.normal(size=(count, 60, 1)), np.linspace(-3, 3, 8)
    labels = np.arange(count) % 2
    for row, label in zip(rows, labels, strict=True):
        start = random.integers(0, 52)
        row[start : start + 8, 0] += tooth if label else -tooth
    return torch.from_numpy(rows).float(), torch.from_numpy(labels)


def test_a_shape_at_a_random_place_is_found_where_the_nearest_neighbour_guesses():
    from cellstate.data.neighbour import nearest

    (inputs, targets), (asked, truth) = shapes(60, 0), shapes(200, 1)
    neighbours = (targets[nearest(inputs, asked)] == truth).double().mean().item()
    assert neighbours < 0.7
    torch.manual_seed(0)
    spec = DataSpec(input_size=1, classes=("falling", "rising"), longest=60)
    model = ConvolutionalClassifier(spec, partial(LSTM, hidden_size=8), channels=(16, 16), kernel_sizes=(9, 5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model.train()
    for _ in range(60):
        rows = torch.randperm(60)[:30]
        batch = Batch(inputs[rows], targets[rows])
        optimizer.zero_grad()
        model.loss(model.compute_output(batch), batch).backward()
        optimizer.step()
    model.eval()
    right = (model(asked).argmax(1) == truth).double().mean().item()
    assert right > neighbours + 0.2
