"""The counter-based generator: random access, and statistics held against theory."""

from __future__ import annotations

import hashlib
import json
import math
from itertools import combinations

import numpy as np
import pytest

from cellstate.data.synthetic.randomness import CounterRandom, splitmix64

SIGMAS = 5.0  # a true claim fails with probability 6e-7


def chi_square_limit(degrees: int) -> float:
    """The chi-square quantile at SIGMAS standard deviations (Wilson & Hilferty 1931)."""
    spread = 2.0 / (9.0 * degrees)
    return degrees * (1.0 - spread + SIGMAS * math.sqrt(spread)) ** 3


def chi_square(counts: np.ndarray) -> float:
    """The statistic of counts that should all be equal."""
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


def assert_uncorrelated(first: np.ndarray, second: np.ndarray) -> None:
    """The correlation of n independent pairs has a standard deviation of 1 / sqrt(n)."""
    correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert abs(correlation) < SIGMAS / math.sqrt(first.size)


def test_core_is_the_published_splitmix64():
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert splitmix64(np.array([1234567], np.uint64), 5).tolist() == [published]


def test_values_equal_the_documented_formula_in_plain_integers():
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def mix(word: int) -> int:
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & mask
        word = (word ^ word >> 27) * 0x94D049BB133111EB & mask
        return word ^ word >> 31

    digest = hashlib.sha256(json.dumps(["task", 7]).encode()).digest()
    keys = [int.from_bytes(digest[at : at + 8], "little") for at in (0, 8)]
    indices = [0, 1, 12345, 2**62]
    expected = [
        [
            mix((mix(keys[0] + golden * (index + 1) & mask) ^ keys[1]) + golden * (column + 1) & mask)
            for column in range(3)
        ]
        for index in indices
    ]
    assert CounterRandom("task", 7).bits(indices, 3).tolist() == expected


@pytest.mark.parametrize("draw", ["bits", "coins", "uniform", "integers", "normal"])
def test_a_value_depends_on_its_row_and_column_alone(draw):
    random = CounterRandom("access", 3)
    arguments = (10,) if draw == "integers" else ()

    def values(indices, width):
        return getattr(random, draw)(indices, width, *arguments)

    whole = values(range(3000), 131)
    assert whole.shape == (3000, 131)
    order = np.random.default_rng(0).permutation(3000)
    np.testing.assert_array_equal(values(order, 131), whole[order])
    for indices in ([5, 3], [2999], [7, 7, 0], np.arange(100, 117, dtype=np.int32)):
        for width in (1, 2, 7, 64, 65, 130):
            np.testing.assert_array_equal(values(indices, width), whole[np.asarray(indices), :width])


def test_an_empty_request_gives_an_empty_answer():
    random = CounterRandom("empty")
    for values in (random.bits([], 3), random.coins([], 3), random.uniform([], 3), random.normal([], 3)):
        assert values.shape == (0, 3)


def test_indices_that_address_nothing_are_refused():
    for indices in ([-1], [0.5], [[1, 2]]):
        with pytest.raises(ValueError, match="indices must be"):
            CounterRandom("x").bits(indices, 1)
    for high in (0, 2**53 + 1):
        with pytest.raises(ValueError, match="high must be"):
            CounterRandom("x").integers([0], 1, high)


def test_every_one_of_the_64_bits_is_a_fair_coin():
    words = CounterRandom("fair").bits(range(20_000), 2)
    for bit in range(64):
        ones = int(((words >> np.uint64(bit)) & np.uint64(1)).sum())
        assert abs(ones - words.size / 2) < SIGMAS * math.sqrt(words.size / 4)


def test_uniforms_fill_the_unit_interval_evenly():
    values = CounterRandom("uniform").uniform(range(100_000), 4)
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.bincount((values.ravel() * 1000).astype(int), minlength=1000)
    assert chi_square(counts) < chi_square_limit(999)


def test_neighbours_in_a_row_and_in_a_column_fill_the_unit_square_evenly():
    cells = (CounterRandom("square").uniform(range(50_000), 4) * 32).astype(int)
    for first, second in ((cells[:, :-1], cells[:, 1:]), (cells[:-1], cells[1:])):
        counts = np.bincount((first * 32 + second).ravel(), minlength=1024)
        assert chi_square(counts) < chi_square_limit(1023)


def test_integers_are_even_over_their_range():
    for high in (1, 2, 7, 1000):
        values = CounterRandom("integers", high).integers(range(50_000), 2, high)
        counts = np.bincount(values.ravel(), minlength=high)
        assert counts.size == high
        assert high == 1 or chi_square(counts) < chi_square_limit(high - 1)


def test_the_largest_uniform_stays_below_high_when_rounded():
    largest = 1.0 - 2.0**-53
    assert all(int(largest * high) < high for power in range(54) for high in (2**power, 2**power - 1) if high)


def test_normals_follow_the_normal_distribution():
    values = np.sort(CounterRandom("normal").normal(range(66_667), 3).ravel())
    cumulated = np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in values])
    steps = np.arange(values.size + 1) / values.size
    distance = max((steps[1:] - cumulated).max(), (cumulated - steps[:-1]).max())
    # Dvoretzky, Kiefer & Wolfowitz, with Massart's constant: P(distance > d) <= 2 exp(-2 n d^2)
    assert distance < math.sqrt(math.log(2.0 / 6e-7) / (2.0 * values.size))
    for power, moment, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        assert abs((values**power).mean() - moment) < SIGMAS * math.sqrt(variance / values.size)


def test_the_two_normals_of_a_pair_are_independent():
    first, second = CounterRandom("pair").normal(range(100_000), 2).T
    assert_uncorrelated(first, second)
    assert_uncorrelated(first**2, second**2)


def test_streams_of_different_keys_are_independent_at_every_small_shift():
    keys = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("a", "0"), ("a", 0, "child")]
    streams = [CounterRandom(*key).uniform(range(10_000), 6) for key in keys]
    for first, second in combinations(streams, 2):
        assert_uncorrelated(first, second)
        for rows, columns in ((1, 0), (0, 1), (2, 3)):
            height, width = 10_000 - rows, 6 - columns
            assert_uncorrelated(first[rows:, columns:], second[:height, :width])
            assert_uncorrelated(first[:height, :width], second[rows:, columns:])


def test_streams_are_no_shifted_copies_of_each_other():
    # Of 1.2 million words of 64 bits two agree by chance with probability 4e-8; shifted copies agree nearly throughout.
    words = np.concatenate([CounterRandom("seed", seed).bits(range(10_000), 20).ravel() for seed in range(6)])
    assert np.unique(words).size == words.size


def test_nearby_rows_and_lags_within_a_row_are_uncorrelated():
    values = CounterRandom("lags").uniform(range(5_000), 64)
    for lag in (1, 2, 3, 8, 32):
        assert_uncorrelated(values[:, lag:], values[:, :-lag])
        assert_uncorrelated(values[lag:], values[:-lag])


def test_a_child_is_the_stream_of_the_longer_key():
    child = CounterRandom("root", 1).child("leaf")
    np.testing.assert_array_equal(child.bits([4], 3), CounterRandom("root", 1, "leaf").bits([4], 3))


def test_keys_that_read_alike_are_different_streams():
    keys = [("1",), (1,), ("1", 2), (1, 2), ("12",), (12,), ("1, 2",), ('1", "2',), ("1", "2"), ("",), ("", ""), ()]
    words = [int(CounterRandom(*key).bits([0], 1)[0, 0]) for key in keys]
    assert len(set(words)) == len(keys)


def test_a_numpy_integer_names_the_same_stream_as_a_python_one():
    assert CounterRandom("x", np.int64(3)).key == CounterRandom("x", 3).key
