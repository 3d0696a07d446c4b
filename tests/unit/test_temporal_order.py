"""The temporal order task, held against the paper's description in a loop, exact shares and probability theory."""

import math

import numpy as np
import pytest
import torch

from cellstate.data.synthetic.generated import SPLITS
from cellstate.data.synthetic.temporal_order import CLASSES, SYMBOLS, TemporalOrderData, temporal_order_sequences
from cellstate.errors import RequestError

SIGMAS = 5.0  # a true claim fails with probability 6e-7


def sequences(indices, *, seed=0, split="train", **options):
    return temporal_order_sequences(indices, seed=seed, split=split, **options)


def texts(symbols, lengths):
    """Each sequence as a string, without its padding, which must be nothing but padding."""
    found = []
    for row, length in zip(symbols.tolist(), lengths.tolist(), strict=True):
        assert set(row[length:]) <= {len(SYMBOLS)}
        found.append("".join(SYMBOLS[number] for number in row[:length]))
    return found


def check_uniform(values, low, high):
    """Every integer from low to high comes up equally often, and no other does."""
    assert set(values) == set(range(low, high + 1))
    share = 1 / (high - low + 1)
    counts = np.bincount(np.asarray(values) - low)
    assert abs(counts / len(values) - share).max() < SIGMAS * math.sqrt(share * (1 - share) / len(values))


@pytest.fixture(scope="module")
def standard():
    return TemporalOrderData(train_size=200, val_size=100, test_size=100)


@pytest.fixture(scope="module")
def many():
    symbols, lengths, labels = sequences(range(4000))
    return texts(symbols, lengths), labels.tolist()


def test_a_sequence_is_what_the_paper_describes(many):
    for text, label in zip(*many, strict=True):
        assert 100 <= len(text) <= 110
        assert text[0] == "E"
        assert text[-1] == "B"
        first, second = (place for place, symbol in enumerate(text) if symbol in "XY")
        assert 10 <= first <= 20
        assert 50 <= second <= 60
        assert text[first] + text[second] == CLASSES[label]
        assert set(text[1:first] + text[first + 1 : second] + text[second + 1 : -1]) <= set("abcd")


def test_lengths_and_places_are_uniform(many):
    found = [[place for place, symbol in enumerate(text) if symbol in "XY"] for text in many[0]]
    check_uniform([first for first, _ in found], 10, 20)
    check_uniform([second for _, second in found], 50, 60)
    check_uniform([len(text) for text in many[0]], 100, 110)


def test_distractors_are_uniform(many):
    joined = "".join(many[0])
    counts = [joined.count(symbol) for symbol in "abcd"]
    total = sum(counts)
    assert max(abs(count / total - 0.25) for count in counts) < SIGMAS * math.sqrt(0.25 * 0.75 / total)


def test_places_and_lengths_tell_nothing_about_each_other_or_the_class(many):
    found = [[place for place, symbol in enumerate(text) if symbol in "XY"] for text in many[0]]
    columns = [*zip(*found, strict=True), [len(text) for text in many[0]], many[1]]
    correlations = np.corrcoef(columns) - np.eye(4)
    assert abs(correlations).max() < SIGMAS / math.sqrt(len(found))


def test_each_class_has_exactly_a_quarter():
    for split in SPLITS:
        _, _, labels = sequences(range(400), split=split)
        assert np.bincount(labels).tolist() == [100] * 4


@pytest.mark.parametrize(
    ("length", "lengths", "first", "second"),
    [(10, (10, 11), (1, 2), (5, 6)), (35, (35, 38), (3, 7), (17, 21)), (200, (200, 220), (20, 40), (100, 120))],
)
def test_another_length_scales_all_ranges(length, lengths, first, second):
    symbols, valid, _ = sequences(range(2000), length=length)
    assert symbols.shape == (2000, lengths[1])
    assert (valid.min(), valid.max()) == lengths
    found = [[place for place, symbol in enumerate(text) if symbol in "XY"] for text in texts(symbols, valid)]
    for places, (low, high) in zip(zip(*found, strict=True), (first, second), strict=True):
        assert (min(places), max(places)) == (low, high)


def test_a_sample_is_the_same_whoever_asks_in_whatever_order():
    whole = sequences(range(60))
    order = np.random.default_rng(0).permutation(60)
    for one, other in zip(whole, sequences(order), strict=True):
        np.testing.assert_array_equal(other, one[order])
    np.testing.assert_array_equal(sequences([41])[0][0], whole[0][41])


def test_splits_and_seeds_are_different_draws():
    draws = [sequences(range(32), split=split) for split in SPLITS] + [sequences(range(32), seed=1)]
    rows = {text for symbols, lengths, _ in draws for text in texts(symbols, lengths)}
    assert len(rows) == 4 * 32


def test_inputs_are_one_hot_and_padded_with_zeros(standard):
    symbols, lengths, _ = sequences(range(200))
    batch = standard.prepared.splits["train"].batch(torch.arange(200))
    assert standard.spec.input_size == 8
    assert batch.inputs.shape == (200, 110, 8)
    assert batch.lengths.tolist() == lengths.tolist()
    for row, numbers, length in zip(batch.inputs, symbols.tolist(), lengths.tolist(), strict=True):
        assert torch.equal(row[:length], torch.nn.functional.one_hot(torch.tensor(numbers[:length]), 8).float())
        assert not row[length:].any()


def test_chance_stands_beside_the_result(standard):
    table = standard.reference_table()
    assert standard.spec.classes == ("XX", "XY", "YX", "YY")
    assert table["accuracy"] == {"optimum": 1.0, "majority": 0.25}
    assert table["loss"]["majority"] == pytest.approx(math.log(4))
    assert table["f1"]["optimum"] == 1.0


def test_an_optimum_is_claimed_only_for_scores_that_exist():
    two_classes_occur = TemporalOrderData(train_size=64, val_size=64, test_size=2)
    assert two_classes_occur.optimum() == {"accuracy": 1.0, "loss": 0.0}


def test_short_sequences_are_said_to_overlap(standard):
    assert len(standard.prepared.facts) == 1
    assert "may overlap" in TemporalOrderData(length=10, train_size=100).prepared.facts[1]


def test_a_length_without_room_is_refused():
    with pytest.raises(RequestError) as caught:
        _ = TemporalOrderData(length=9).prepared
    (problem,) = caught.value.problems
    assert problem == "data.length=9 is too short: set data.length to 10 or more"


def test_an_unknown_split_is_refused():
    with pytest.raises(RequestError, match="did you mean 'test'"):
        sequences([0], split="tets")
