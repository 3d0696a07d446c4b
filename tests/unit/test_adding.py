"""The adding problem, held against its definition in loops, exact integrals and Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from matplotlib import rc_context
from numpy.polynomial import Polynomial

import cellstate
from cellstate.data import AddingData
from cellstate.data.synthetic.adding import adding_sequences
from cellstate.data.synthetic.generated import SPLITS
from cellstate.errors import RequestError
from cellstate.model.material import Material
from cellstate.model.regression import figures as regression
from cellstate.plotting.theme import DARK, LIGHT

SIGMAS = 5.0  # a true claim fails with probability 6e-7
SIZES = {"train_size": 600, "val_size": 200, "test_size": 300}


def sequences(indices, *, seed=0, split="train", **options):
    return adding_sequences(indices, seed=seed, split=split, **options)


@pytest.fixture(scope="module")
def standard():
    return AddingData(**SIZES)


def mean_of(values, expected):
    """Assert that the mean of independent ``values (N,)`` is the expected one, within five of its standard errors."""
    assert abs(values.mean() - expected) < SIGMAS * values.std() / math.sqrt(len(values))


# ---------------------------------------------------------------------- the sequences


@pytest.mark.parametrize("length", [2, 3, 10, 101])
def test_the_sum_is_that_of_one_number_of_each_half(length):
    drawn = sequences(range(300), length=length)
    assert drawn.numbers.shape == (300, length)
    for numbers, (first, second), total in zip(drawn.numbers.tolist(), drawn.marked, drawn.sums.tolist(), strict=True):
        assert 0 <= first < length // 2 <= second < length
        assert total == numbers[first] + numbers[second]
        assert all(0 <= number < 1 for number in numbers)


@pytest.mark.parametrize("length", [10, 11])
def test_a_mark_is_uniform_over_its_half(length):
    count, half = 40_000, length // 2
    marked = sequences(range(count), length=length).marked
    for column, places in ((0, range(half)), (1, range(half, length))):
        chance = 1 / len(places)
        for place in places:
            share = (marked[:, column] == place).mean()
            assert abs(share - chance) < SIGMAS * math.sqrt(chance * (1 - chance) / count)


def test_the_numbers_are_uniform_and_tell_nothing_of_each_other_or_of_the_marks():
    drawn = sequences(range(20_000), length=12)
    for power in (1, 2, 3):  # of a uniform number, E u^k = 1 / (k + 1)
        for place in range(12):
            mean_of(drawn.numbers[:, place] ** power, 1 / (power + 1))
    centred = drawn.numbers - 0.5
    mean_of(centred[:, 3] * centred[:, 4], 0)
    mean_of(centred[:, 3] * (drawn.marked[:, 0] - 2.5), 0)
    mean_of((drawn.marked[:, 0] - 2.5) * (drawn.marked[:, 1] - 8.5), 0)


def test_a_sample_is_the_same_whoever_asks_in_whatever_order():
    whole = sequences(range(100))
    order = np.random.default_rng(0).permutation(100)
    for part, shuffled in zip(whole, sequences(order), strict=True):
        np.testing.assert_array_equal(shuffled, part[order])


def test_splits_seeds_and_lengths_are_different_draws():
    draws = [sequences(range(64), split=split).numbers for split in SPLITS]
    draws += [sequences(range(64), seed=1).numbers, sequences(range(64), length=101).numbers[:, :100]]
    assert len({draw.tobytes() for draw in draws}) == len(draws)


def test_a_step_is_the_number_and_its_mark(standard):
    inputs = standard.samples("test").inputs
    drawn = sequences(range(300), split="test")
    assert inputs.shape == (300, 100, 2)
    assert inputs.dtype == torch.float32
    np.testing.assert_allclose(inputs[..., 0].numpy(), drawn.numbers, rtol=1e-6)
    for row, places in zip(inputs[..., 1], drawn.marked, strict=True):
        assert row.nonzero().flatten().tolist() == places.tolist()
        assert row.sum() == 2
    np.testing.assert_allclose((inputs[..., 0] * inputs[..., 1]).sum(1).numpy(), drawn.sums, rtol=1e-6)


@pytest.mark.parametrize("length", [1, 0, -3])
def test_sequences_without_room_for_two_marks_are_refused(length):
    with pytest.raises(RequestError) as caught:
        _ = AddingData(length=length).prepared
    (problem,) = caught.value.problems
    assert problem == f"data.length={length} is too short for two marked numbers: set data.length to 2 or more"


# ---------------------------------------------------------------------- targets in z-scores


def test_targets_are_scaled_by_the_training_split_alone(standard):
    spec, training = standard.spec, sequences(range(600)).sums
    assert (spec.targets, spec.input_size, spec.horizon) == (("sum",), 2, 0)
    assert spec.mean == pytest.approx((training.mean(),), rel=1e-12)
    assert spec.std == pytest.approx((training.std(),), rel=1e-12)
    assert standard.samples("train").targets.double().mean().item() == pytest.approx(0, abs=1e-6)
    for split, size in zip(SPLITS, (600, 200, 300), strict=True):
        sums = sequences(range(size), split=split).sums
        np.testing.assert_array_equal(standard.values(split)[:, 0], sums)
        scaled = standard.samples(split).targets
        assert scaled.shape == (size, 1)
        assert scaled.dtype == torch.float32
        np.testing.assert_allclose(scaled[:, 0].numpy(), (sums - training.mean()) / training.std(), atol=1e-6)


def test_fresh_epochs_are_new_sequences_in_the_unit_of_the_first():
    data = AddingData(fresh=True, batch_size=100, **SIZES)
    loader = data.train_dataloader()
    (mean,), (std,) = data.spec.mean, data.spec.std
    for epoch in range(3):
        sums = np.concatenate([batch.targets[:, 0].double().numpy() for batch in loader]) * std + mean
        expected = sequences(range(600 * epoch, 600 * (epoch + 1))).sums
        np.testing.assert_allclose(np.sort(sums), np.sort(expected), atol=1e-6)


def test_a_training_split_of_one_and_the_same_value_is_refused():
    with pytest.raises(RequestError, match="'sum' is constant over all 1 training sequences"):
        _ = AddingData(train_size=1, batch_size=1).prepared


def test_the_data_is_a_function_of_its_parameters_alone():
    base = AddingData(**SIZES).fingerprint
    assert AddingData(batch_size=7, **SIZES).fingerprint == base
    others = [AddingData(seed=1, **SIZES).fingerprint, AddingData(length=99, **SIZES).fingerprint]
    assert len({base, *others}) == 3


# ---------------------------------------------------------------------- the numbers beside a result


def test_always_one_costs_a_sixth_and_a_third_by_exact_integration(standard):
    # The density of the sum of two uniform numbers is s on [0, 1] and 2 - s on [1, 2].
    pieces = ((Polynomial([0, 1]), 0, 1, -1), (Polynomial([2, -1]), 1, 2, 1))

    def expected(loss):
        total = 0.0
        for density, low, high, sign in pieces:
            integral = (density * loss(sign)).integ()
            total += integral(high) - integral(low)
        return total

    mse = expected(lambda _: Polynomial([-1, 1]) ** 2)
    mae = expected(lambda sign: sign * Polynomial([-1, 1]))
    assert (mse, mae) == pytest.approx((1 / 6, 1 / 3))
    table = standard.reference_table()
    assert table["mse"]["one"] == pytest.approx(mse, rel=1e-12)
    assert table["mae"]["one"] == pytest.approx(mae, rel=1e-12)
    assert table["rmse"]["one"] == pytest.approx(math.sqrt(mse), rel=1e-12)
    assert table["mse_scaled"]["one"] == pytest.approx(mse / standard.spec.std[0] ** 2)
    assert table["mae_scaled"]["one"] == pytest.approx(mae / standard.spec.std[0])


def test_always_one_costs_a_sixth_and_a_third_by_monte_carlo():
    off = sequences(range(100_000), length=10).sums - 1
    mean_of(off**2, 1 / 6)
    mean_of(np.abs(off), 1 / 3)


def test_knowing_the_second_number_halves_the_squared_error():
    data = AddingData(train_size=600, val_size=200, test_size=40_000, length=10)
    table, drawn = data.reference_table(), sequences(range(40_000), split="test", length=10)
    missing = drawn.numbers[np.arange(40_000), drawn.marked[:, 0]] - 0.5  # what that predictor does not know
    assert table["mse"]["second_only"] == pytest.approx(np.mean(missing**2), rel=1e-6)
    assert table["mae"]["second_only"] == pytest.approx(np.mean(np.abs(missing)), rel=1e-6)
    mean_of(missing**2, 1 / 12)
    mean_of(np.abs(missing), 1 / 4)


def test_a_perfect_sum_and_the_training_mean_stand_beside_the_result(standard):
    table = standard.reference_table()
    assert {metric: values["optimum"] for metric, values in table.items()} == dict.fromkeys(table, 0.0)
    truth, mean = sequences(range(300), split="test").sums, sequences(range(600)).sums.mean()
    assert table["mae"]["mean"] == pytest.approx(np.mean(np.abs(truth - mean)))
    assert table["mse"]["mean"] == pytest.approx(np.mean((truth - mean) ** 2))


# ---------------------------------------------------------------------- a run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adding")
    small = ["data.train_size=256", "data.val_size=64", "data.test_size=150", "data.length=8", "trainer.max_epochs=2"]
    return cellstate.train(
        ["experiment=adding", *small, "backbone.hidden_size=8", "trainer.accelerator=cpu", f"hydra.run.dir={folder}"]
    )


def test_a_checkpoint_predicts_what_was_scored(run):
    loaded, data = cellstate.load(run.checkpoint), run.data
    truth = data.values("test")
    predicted = loaded.predict(data.samples("test").inputs)
    assert predicted.shape == (150, 1)
    np.testing.assert_allclose(predicted, run.model.predict(data.samples("test").inputs), rtol=1e-6)
    assert run.metrics["test"]["mse"] == pytest.approx(np.mean((predicted - truth) ** 2), rel=1e-5)
    assert run.metrics["test"]["mae"] == pytest.approx(np.mean(np.abs(predicted - truth)), rel=1e-5)
    assert cellstate.evaluate(run.checkpoint).differing == []


def test_the_figures_show_every_prediction_of_the_test_split(run):
    material = Material(run.metrics, run.history, run.data, run.model)
    assert run.model.headline.metric == "mse"
    drawings = {drawing.name: drawing for drawing in run.model.section(material).drawings}
    assert list(drawings) == ["predicted_and_true", "residuals"]
    found = regression.collect(material)
    predicted, truth = run.model.predict(run.data.samples("test").inputs), run.data.values("test")
    np.testing.assert_allclose(found.predicted, predicted, atol=1e-5)
    np.testing.assert_allclose(found.truth, truth, atol=1e-6)
    for theme in (LIGHT, DARK):
        with rc_context(theme.rc()):
            points, bars = (drawing.draw(theme).axes[0] for drawing in drawings.values())
        (cloud,) = (line for line in points.lines if line.get_marker() == "o")
        np.testing.assert_allclose(np.column_stack(cloud.get_data()), np.hstack((truth, predicted)), atol=1e-5)
        assert points.get_xlim() == points.get_ylim()
        (steps,) = bars.patches
        counts, edges, _ = steps.get_data()
        left = (predicted - truth)[:, 0]
        assert counts.sum() == ((left >= edges[0]) & (left <= edges[-1])).sum() >= 0.99 * len(left)


def test_residuals_of_no_width_have_bins_too():
    for residuals in (np.zeros(50), np.full(7, 3.0), np.array([1e9])):
        edges = regression.bin_edges(residuals)
        assert (np.diff(edges) > 0).all()
        assert edges[0] <= residuals.min()
        assert residuals.max() <= edges[-1]
