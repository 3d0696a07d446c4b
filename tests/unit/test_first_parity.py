"""The parity of one digit, held against its definition in a loop, exact shares and probability theory."""

import math

import numpy as np
import pytest
import torch

from cellstate.data.synthetic.first_parity import FirstParityData, parity_sequences
from cellstate.data.synthetic.generated import SPLITS
from cellstate.errors import RequestError

SIGMAS = 5.0  # a true claim fails with probability 6e-7


def sequences(indices, *, seed=0, split="train", **options):
    return parity_sequences(indices, seed=seed, split=split, **options)


@pytest.fixture(scope="module")
def standard():
    return FirstParityData(train_size=1000, val_size=200, test_size=300)


def test_the_label_says_whether_the_first_digit_is_even():
    digits, labels = sequences(range(500))
    assert digits.shape == (500, 10)
    for row, label in zip(digits.tolist(), labels.tolist(), strict=True):
        assert label == (row[0] in (0, 2, 4, 6, 8))


@pytest.mark.parametrize("lag", [0, 1, 4, 9])
def test_lag_counts_the_steps_from_the_decisive_digit_to_the_last(lag):
    digits, labels = sequences(range(400), lag=lag)
    for row, label in zip(digits.tolist(), labels.tolist(), strict=True):
        assert label == (row[::-1][lag] % 2 == 0)


def test_without_a_lag_the_first_digit_decides():
    for mine, theirs in zip(sequences(range(50), length=7), sequences(range(50), length=7, lag=6), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_either_class_has_exactly_half():
    for split in SPLITS:
        _, labels = sequences(range(1000), split=split)
        assert labels.sum() == 500


@pytest.mark.parametrize("lag", [None, 0, 5])
def test_every_digit_is_uniform_at_every_place(lag):
    count = 20_000
    digits, _ = sequences(range(count), lag=lag)
    share = np.stack([(digits == digit).mean(0) for digit in range(10)])
    assert abs(share - 0.1).max() < SIGMAS * math.sqrt(0.1 * 0.9 / count)


def test_no_other_digit_tells_the_class():
    count = 20_000
    digits, labels = sequences(range(count))
    for place in range(1, 10):
        agreement = ((digits[:, place] % 2 == 0) == labels).mean()
        assert abs(agreement - 0.5) < SIGMAS * math.sqrt(0.25 / count)


def test_a_sample_is_the_same_whoever_asks_in_whatever_order():
    digits, labels = sequences(range(100))
    order = np.random.default_rng(0).permutation(100)
    shuffled, shuffled_labels = sequences(order)
    np.testing.assert_array_equal(shuffled, digits[order])
    np.testing.assert_array_equal(shuffled_labels, labels[order])
    np.testing.assert_array_equal(sequences([63])[0][0], digits[63])


def test_splits_seeds_and_lengths_are_different_draws():
    draws = [sequences(range(64), split=split)[0] for split in SPLITS]
    draws += [sequences(range(64), seed=1)[0], sequences(range(64), length=11)[0][:, :10]]
    assert len({draw.tobytes() for draw in draws}) == len(draws)


def test_no_sequence_is_in_two_splits(standard):
    rows = [set(map(tuple, standard.prepared.splits[split].inputs[..., 0].tolist())) for split in SPLITS]
    assert len(rows[0] | rows[1] | rows[2]) == sum(map(len, rows))


def test_scalars_are_standardised_by_the_moments_of_a_uniform_digit(standard):
    inputs = standard.prepared.splits["train"].inputs
    assert inputs.shape == (1000, 10, 1)
    assert inputs.dtype == torch.float32
    digits, _ = sequences(range(1000))
    population = np.arange(10)
    expected = (digits - population.mean()) / population.std()
    np.testing.assert_allclose(inputs[..., 0].numpy(), expected, rtol=1e-6)


def test_one_hot_digits_are_the_same_digits():
    data = FirstParityData(train_size=100, val_size=64, test_size=64, encoding="one_hot")
    inputs = data.prepared.splits["train"].inputs
    assert inputs.shape == (100, 10, 10)
    assert data.spec.input_size == 10
    assert torch.equal(inputs.sum(-1), torch.ones(100, 10))
    np.testing.assert_array_equal(inputs.argmax(-1).numpy(), sequences(range(100))[0])


def test_guessing_stands_beside_the_result(standard):
    table = standard.reference_table()
    assert standard.spec.classes == ("odd", "even")
    assert table["accuracy"] == {"optimum": 1.0, "majority": 0.5}
    assert table["loss"]["majority"] == pytest.approx(math.log(2))


def test_the_data_is_a_function_of_its_parameters_alone():
    def fingerprint(**options):
        return FirstParityData(train_size=100, val_size=64, test_size=64, **options).fingerprint

    base = fingerprint()
    assert fingerprint(batch_size=7) == base
    others = [fingerprint(seed=1), fingerprint(length=9), fingerprint(lag=3), fingerprint(encoding="one_hot")]
    assert len({base, *others}) == 5


def test_short_sequences_are_said_to_overlap(standard):
    assert len(standard.prepared.facts) == 1
    short = FirstParityData(train_size=100, val_size=64, test_size=64, length=3)
    assert "1,000" in short.prepared.facts[1]
    assert "may overlap" in short.prepared.facts[1]


@pytest.mark.parametrize("lag", [10, 11, -1])
def test_a_lag_outside_the_sequence_is_refused(lag):
    with pytest.raises(RequestError) as caught:
        _ = FirstParityData(lag=lag).prepared
    (problem,) = caught.value.problems
    assert problem == (
        f"data.lag={lag} is outside a sequence of data.length=10 digits: set data.lag from 0 (the last digit) to 9 "
        "(the first), or null for the first"
    )


def test_all_problems_of_a_request_are_told_at_once():
    with pytest.raises(RequestError) as caught:
        sequences([0], split="trian", length=0)
    assert len(caught.value.problems) == 2
    assert "data.length=0" in caught.value.problems[0]
    assert "did you mean 'train'" in caught.value.problems[1]
