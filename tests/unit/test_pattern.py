"""The pattern task, held against enumeration of all strings, closed forms and probability theory."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from cellstate.data.synthetic.pattern import (
    SPLITS,
    PatternAutomaton,
    pattern_sequences,
    split_of,
    splits_are_disjoint,
    textbook_positive_share,
)
from cellstate.data.synthetic.randomness import CounterRandom
from cellstate.errors import RequestError

SHORT_PATTERNS = [pattern for size in range(1, 5) for pattern in product((0, 1), repeat=size)]
SIGMAS = 5.0  # a true claim fails with probability 6e-7


def chi_square_limit(degrees: int) -> float:
    """The chi-square quantile at SIGMAS standard deviations (Wilson & Hilferty 1931)."""
    spread = 2.0 / (9.0 * degrees)
    return degrees * (1.0 - spread + SIGMAS * math.sqrt(spread)) ** 3


def chi_square(counts: np.ndarray) -> float:
    """The statistic of counts that should all be equal."""
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


def all_strings(length: int) -> np.ndarray:
    return np.array(list(product((0, 1), repeat=length)), np.uint8).reshape(2**length, length)


def holds(bits: np.ndarray, pattern: tuple[int, ...]) -> np.ndarray:
    """Which rows hold the pattern, by searching the text of each."""
    text = "".join(map(str, pattern))
    return np.array([text in "".join(map(str, row)) for row in bits.tolist()], bool)


def sequences(indices, *, seed=0, split="train", pattern=(1, 1, 0), length=20, **options):
    return pattern_sequences(indices, seed=seed, split=split, pattern=pattern, length=length, **options)


@pytest.mark.parametrize("pattern", SHORT_PATTERNS)
def test_counts_and_contents_are_those_of_an_enumeration_of_all_strings(pattern):
    automaton = PatternAutomaton(pattern)
    for length in range(13):
        bits = all_strings(length)
        found = holds(bits, pattern)
        np.testing.assert_array_equal(automaton.contains(bits), found)
        assert automaton.count_avoiding(length) == int((~found).sum())
        assert automaton.share_containing(length) == Fraction(int(found.sum()), 2**length)


@pytest.mark.parametrize("pattern", [*SHORT_PATTERNS, (1, 0, 1, 0, 1, 1), (1, 1, 0, 1, 1, 1, 0)])
def test_the_automaton_tracks_the_longest_beginning_just_read(pattern):
    automaton = PatternAutomaton(pattern)
    assert automaton.transitions.shape == (len(pattern) + 1, 2)
    for symbols in all_strings(8).tolist():
        state, seen = 0, ""
        for symbol in symbols:
            state, seen = int(automaton.transitions[state, symbol]), seen + str(symbol)
            text = "".join(map(str, pattern))
            longest = max(size for size in range(len(text) + 1) if seen.endswith(text[:size]))
            assert state == (len(text) if text in seen else longest)


def test_counts_follow_the_closed_forms():
    fibonacci, tribonacci = [1, 2], [1, 2, 4]
    for _ in range(200):
        fibonacci.append(sum(fibonacci[-2:]))
        tribonacci.append(sum(tribonacci[-3:]))
    for length in (0, 1, 2, 3, 20, 100):
        assert PatternAutomaton([1]).count_avoiding(length) == 1
        assert PatternAutomaton([1, 0]).count_avoiding(length) == length + 1
        assert PatternAutomaton([1, 1]).count_avoiding(length) == fibonacci[length]
        assert PatternAutomaton([0, 0, 0]).count_avoiding(length) == tribonacci[length]
        assert PatternAutomaton([1, 1, 0]).count_avoiding(length) == fibonacci[length + 1] - 1


@pytest.mark.parametrize("pattern", [(1,), (1, 1, 0), (0, 0, 0, 0), (1, 0, 1, 0)])
def test_avoiding_samples_are_uniform_over_all_avoiding_strings(pattern):
    automaton = PatternAutomaton(pattern)
    bits = automaton.sample_avoiding(CounterRandom("avoid").uniform(range(100_000), 8))
    codes, counts = np.unique(bits @ (1 << np.arange(8)), return_counts=True)
    assert not holds(all_strings(8)[:, ::-1][codes], pattern).any()
    assert codes.size == automaton.count_avoiding(8)
    assert codes.size == 1 or chi_square(counts) < chi_square_limit(codes.size - 1)


@pytest.mark.parametrize("pattern", [(1,), (1, 1, 0), (0, 0, 0, 0), (1, 0, 1, 0)])
def test_sequences_of_thousands_of_steps_avoid_the_pattern(pattern):
    automaton = PatternAutomaton(pattern)
    bits = automaton.sample_avoiding(CounterRandom("long").uniform(range(100), 5000))
    assert bits.shape == (100, 5000)
    assert not holds(bits, pattern).any()


def test_long_samples_have_the_density_that_theory_gives():
    # Far from its ends a uniform string without 11 is a Markov chain, P(1 | 0) = 1 / phi^2: density 1 / (phi^2 + 1).
    bits = PatternAutomaton([1, 1]).sample_avoiding(CounterRandom("density").uniform(range(200), 5000))
    golden = (1 + math.sqrt(5)) / 2
    # Each 1 blocks its neighbour, so ones are spread more evenly than coins: the binomial deviation is an upper bound.
    assert abs(bits.mean() - 1 / (golden**2 + 1)) < SIGMAS * math.sqrt(0.25 / bits.size) + 1 / 5000


def test_a_string_that_can_end_in_one_way_only_does():
    # Once 11 was drawn only ones avoid 110, though the largest uniform would draw a 0 at any lesser probability.
    uniforms = np.concatenate([np.zeros((1, 2)), np.full((1, 48), 1 - 2**-53)], axis=1)
    assert PatternAutomaton([1, 1, 0]).sample_avoiding(uniforms).all()


@pytest.mark.parametrize("pattern", [(1, 1, 0), (0, 0, 0, 0), (1, 0, 1, 0), (0, 1)])
@pytest.mark.parametrize("split", SPLITS)
def test_positives_hold_the_pattern_and_negatives_avoid_it(pattern, split):
    bits, labels = sequences(range(2000), split=split, pattern=pattern, length=33)
    assert bits.shape == (2000, 33)
    assert bits.dtype == np.uint8
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels == 1, holds(bits, pattern))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1 / 3, 0.9, 1.0])
def test_every_prefix_has_the_share_of_positives_to_within_a_sample(share):
    labels = sequences(range(1000), positive_share=share)[1]
    exact = Fraction(share).limit_denominator(1000)
    assert np.cumsum(labels).tolist() == [count * exact.numerator // exact.denominator for count in range(1, 1001)]


def test_negatives_of_the_task_are_uniform_among_the_strings_of_their_split():
    bits, labels = sequences(range(120_000), length=14, pattern=(1, 0))  # 15 strings avoid it: no disjoint splits
    codes, counts = np.unique(bits[labels == 0] @ (1 << np.arange(14)), return_counts=True)
    assert codes.size == 15
    assert chi_square(counts) < chi_square_limit(14)

    options = {"pattern": (1, 1, 0), "length": 12, "split_shares": (0.4, 0.3, 0.3)}
    assert splits_are_disjoint(*options.values())
    bits, labels = sequences(range(100_000), split="val", **options)
    every = all_strings(12)
    own = every[
        (split_of(every, seed=0, **{k: v for k, v in options.items() if k != "length"}) == 1) & ~holds(every, (1, 1, 0))
    ]
    codes, counts = np.unique(bits[labels == 0] @ (1 << np.arange(12)), return_counts=True)
    assert sorted(codes) == sorted(own @ (1 << np.arange(12)))
    assert chi_square(counts) < chi_square_limit(codes.size - 1)


def test_the_pattern_is_planted_at_uniform_places():
    pattern, length = (1,) * 12, 40
    bits, _ = sequences(range(50_000), pattern=pattern, length=length, positive_share=1.0)
    windows = np.lib.stride_tricks.sliding_window_view(bits, 12, axis=1).all(axis=2)  # (N, 29)
    # A window is all ones where its steps outside the planted one, min(d, 12) of them at distance d, came up ones.
    distance = np.abs(np.subtract.outer(np.arange(29), np.arange(29)))
    probability = (0.5 ** np.minimum(distance, 12)).mean(axis=1)
    deviation = np.sqrt(probability * (1 - probability) / len(bits))
    assert (np.abs(windows.mean(axis=0) - probability) < SIGMAS * deviation).all()


def test_the_textbook_procedure_is_98_63_percent_positive():
    share = textbook_positive_share([1, 1, 0], 20)
    assert float(share) == pytest.approx(0.9863, abs=5e-5)
    # By enumeration of every string of 20 steps, with numpy alone.
    numbers = np.arange(2**20)
    held = np.zeros(2**20, bool)
    for place in range(18):
        held |= (numbers >> place & 7) == 0b110
    assert share == Fraction(1, 2) + Fraction(int(held.sum()), 2**21)


def test_the_textbook_procedure_draws_its_exact_share_and_labels_what_is_there():
    bits, labels = sequences(range(100_000), positive_share=None)
    share = float(textbook_positive_share([1, 1, 0], 20))
    np.testing.assert_array_equal(labels == 1, PatternAutomaton([1, 1, 0]).contains(bits))
    # The part of the strings that the split owns is itself a draw: of 28,656 avoiding strings it has 80 % by chance.
    of_part = math.sqrt((1 - 0.8) / 0.8 / 28_656) * (1 - share)
    assert abs(labels.mean() - share) < SIGMAS * (math.sqrt(share * (1 - share) / len(labels)) + of_part)
    plain = sequences(range(100_000), pattern=(1, 1, 0, 1), length=8, positive_share=None)[1]
    share = float(textbook_positive_share([1, 1, 0, 1], 8))
    assert abs(plain.mean() - share) < SIGMAS * math.sqrt(share * (1 - share) / len(plain))


@pytest.mark.parametrize("positive_share", [0.5, None])
def test_no_string_is_in_two_splits(positive_share):
    assert splits_are_disjoint([1, 1, 0], 20)
    strings = []
    for split in SPLITS:
        bits, _ = sequences(range(20_000), split=split, positive_share=positive_share)
        strings.append(set((bits @ (1 << np.arange(20))).tolist()))
    assert not strings[0] & strings[1]
    assert not strings[0] & strings[2]
    assert not strings[1] & strings[2]


@pytest.mark.parametrize("length", [20, 64, 65, 200])
def test_splits_own_their_shares_of_the_strings(length):
    bits = CounterRandom("strings").coins(range(50_000), length)
    shares = (0.7, 0.2, 0.1)
    owner = split_of(bits, seed=5, pattern=[1, 1, 0], split_shares=shares)
    for place, share in enumerate(shares):
        assert abs((owner == place).mean() - share) < SIGMAS * math.sqrt(share * (1 - share) / len(bits))
    # Flipped bits, wherever they are, or another seed: the owner is drawn anew.
    same = sum(share**2 for share in shares)
    limit = SIGMAS * math.sqrt(same * (1 - same) / len(bits))
    for places in ([0], [length // 2], [length - 1], [0, 64]):  # the last: one bit in each of two words of the hash
        flipped = bits.copy()
        flipped[:, [place for place in places if place < length]] ^= 1
        agree = split_of(flipped, seed=5, pattern=[1, 1, 0], split_shares=shares) == owner
        assert abs(agree.mean() - same) < limit
    assert abs((split_of(bits, seed=6, pattern=[1, 1, 0], split_shares=shares) == owner).mean() - same) < limit


def test_splits_are_disjoint_only_where_there_are_strings_enough():
    # 110 is avoided by F(n + 3) - 1 strings: 609 at 12, 986 at 13. A tenth of either label must be 64 or more.
    assert not splits_are_disjoint([1, 1, 0], 5)
    assert PatternAutomaton([1, 1, 0]).count_avoiding(12) == 609
    assert not splits_are_disjoint([1, 1, 0], 12)
    assert splits_are_disjoint([1, 1, 0], 13)
    assert not splits_are_disjoint([1], 1000)  # a single string avoids it
    assert not splits_are_disjoint([1, 0, 1, 0], 4)  # a single string holds it
    assert splits_are_disjoint([1, 1, 0], 13, (0.8, 0.1, 0.1))
    assert not splits_are_disjoint([1, 1, 0], 13, (0.94, 0.03, 0.03))


def test_the_smallest_spaces_still_give_labelled_samples():
    for pattern, length in (((1,), 1), ((1,), 30), ((1, 0, 1), 3), ((0, 0, 0, 0), 4)):
        bits, labels = sequences(range(100), pattern=pattern, length=length)
        np.testing.assert_array_equal(labels == 1, holds(bits, pattern))


@pytest.mark.parametrize("positive_share", [0.5, None])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_sample_is_a_pure_function_of_its_index(split, positive_share):
    options = {"split": split, "positive_share": positive_share}
    bits, labels = sequences(range(3000), **options)
    for indices in (np.random.default_rng(0).permutation(3000), np.arange(5, 3000, 7), [2999], [4, 4, 0]):
        some_bits, some_labels = sequences(indices, **options)
        np.testing.assert_array_equal(some_bits, bits[np.asarray(indices)])
        np.testing.assert_array_equal(some_labels, labels[np.asarray(indices)])
    assert sequences([], **options)[0].shape == (0, 20)


def test_another_seed_or_split_gives_other_samples():
    bits = sequences(range(500), length=60)[0]
    for other in (sequences(range(500), length=60, seed=1)[0], sequences(range(500), length=60, split="val")[0]):
        assert (bits != other).any(axis=1).all()


def test_long_sequences_work():
    bits, labels = sequences(range(20), length=5000)
    np.testing.assert_array_equal(labels == 1, holds(bits, (1, 1, 0)))
    assert textbook_positive_share([1, 1, 0], 5000) < 1


@pytest.mark.parametrize("pattern", [[], [2], [1, -1], ["1"], 110])
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(RequestError, match="a pattern is a list of one or more 0 and 1"):
        PatternAutomaton(pattern)


def test_all_problems_of_a_request_are_told_at_once():
    with pytest.raises(RequestError) as refusal:
        sequences([0], split="tset", length=2, positive_share=1.5, split_shares=(0.5, 0.5, 0.5))
    told = refusal.value.problems
    assert len(told) == 4
    assert "length=2 is shorter than the pattern 110" in told[0]
    assert "data.balance=1.5" in told[1]
    assert "sum to 1" in told[2]
    assert "did you mean 'test'?" in told[3]
    with pytest.raises(RequestError, match=r"set data\.length to 3 or more"):
        textbook_positive_share([1, 1, 0], 2)


@pytest.mark.parametrize("shares", [(1.0, 0.0, 0.0), (0.5, 0.5), (0.995, 0.0025, 0.0025)])
def test_split_shares_that_leave_a_split_nothing_are_refused(shares):
    with pytest.raises(RequestError, match="split_shares"):
        sequences([0], split_shares=shares)
