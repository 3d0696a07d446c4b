"""Comparing a thing with itself names no winner, and comparing different things does; told from few repetitions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator
from tests.conftest import slow

from cellstate.metrics.statistics import student_quantile
from cellstate.sweep.compare.matching import match_sizes, solve_size
from cellstate.sweep.compare.statistics import LEVEL, Difference, compare, difference, expanded_tail, student_p

Draw = Callable[[Generator, int], np.ndarray]
SHAPES: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(0.3, 0.1, n),
    "skewed": lambda rng, n: rng.lognormal(-3.0, 1.0, n),  # losses near their floor
    "of two kinds": lambda rng, n: np.where(rng.random(n) < 0.3, 0.5, 0.99) + rng.normal(0, 1e-3, n),  # some seeds fail
    "few values": lambda rng, n: rng.integers(90, 100, n) / 100,  # accuracies of a small split
    "wide tails": lambda rng, n: rng.standard_t(2, n),
}


@pytest.mark.parametrize("seeds", [5, *slow(3, 8, 12)])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_thing_is_no_better_than_itself(shape: str, seeds: int) -> None:
    rng = np.random.default_rng(7)
    winners = 0
    for _ in range(200):
        one, other = SHAPES[shape](rng, seeds), SHAPES[shape](rng, seeds)
        winners += difference(one.tolist(), other.tolist()).shown
    assert winners <= 10  # 5 %


def test_nor_is_any_of_several() -> None:
    rng = np.random.default_rng(11)
    winners = 0
    for _ in range(200):
        scores = {name: dict(zip("abcde", rng.normal(size=5), strict=True)) for name in ("rnn", "lstm", "gru", "own")}
        winners += any(one.shown for one in compare(scores).values())
    assert winners <= 10


@pytest.mark.parametrize("seeds", [5, 10])
def test_what_is_better_by_far_is_told(seeds: int) -> None:
    rng = np.random.default_rng(3)
    told = 0
    for _ in range(100):
        base = rng.normal(0.3, 0.2, seeds)  # what a seed does to both
        better = base - 0.1 + rng.normal(0, 0.02, seeds)
        found = difference(better.tolist(), base.tolist())
        told += found.shown
        assert not found.shown or found.mean < 0
    assert told >= 95


def test_pairing_takes_out_what_a_seed_does_to_both() -> None:
    base = [0.1, 0.5, 0.9, 0.3, 0.7]
    better = [value - 0.05 - 0.001 * place for place, value in enumerate(base)]
    assert difference(better, base).shown
    assert not difference(better, base[::-1]).shown


@pytest.mark.parametrize("n", [4, 9, 30])
def test_the_expanded_interval_is_students_for_normal_values(n: int) -> None:
    # The bootstrap's standard error is that of n in place of n - 1, and its quantiles are about the normal ones.
    pairs = np.random.default_rng(n).normal(size=(600, n))
    half = student_quantile(n - 1, LEVEL) * pairs.std(axis=1, ddof=1) / math.sqrt(n)
    widths = []
    for row in pairs[:60]:
        found = difference(row.tolist(), [0.0] * n)
        assert found.low is not None
        assert found.high is not None
        assert row.min() <= found.low <= found.mean <= found.high <= row.max()
        widths.append((found.high - found.low) / 2)
    # Of few values it can be no wider than they are; of many it is as wide as Student's.
    ratio = np.mean(widths) / half[:60].mean()
    assert 0.9 < ratio < 1.1 if n == 30 else ratio < 1.05


def test_more_is_left_out_of_fewer() -> None:
    tails = [expanded_tail(n) for n in (3, 5, 10, 100, 10_000)]
    assert tails == sorted(tails)
    assert tails[-1] == pytest.approx((1 - LEVEL) / 2, rel=1e-2)


def test_students_p_is_that_of_the_tables() -> None:
    # Of t = 2.776 with 4 degrees of freedom it is 0.05 (any table of Student's distribution).
    pairs = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    error = pairs.std(ddof=1) / math.sqrt(5)
    assert student_p(pairs + 2.776445 * error) == pytest.approx(0.05, abs=1e-5)
    assert student_p(pairs) == pytest.approx(1.0)


def test_holm_adjusts_for_all_pairs() -> None:
    scores = {
        "a": dict(zip("12345", (0.10, 0.11, 0.12, 0.13, 0.15), strict=True)),
        "b": dict(zip("12345", (0.20, 0.23, 0.22, 0.26, 0.25), strict=True)),
        "c": dict(zip("12345", (0.21, 0.20, 0.23, 0.24, 0.27), strict=True)),
    }
    found = compare(scores)
    alone = {pair: difference(list(scores[pair[0]].values()), list(scores[pair[1]].values())).p for pair in found}
    smallest, middle, largest = sorted(found, key=lambda pair: alone[pair])
    assert found[smallest].p == pytest.approx(3 * alone[smallest])
    assert found[middle].p == pytest.approx(max(3 * alone[smallest], 2 * alone[middle]))
    assert found[largest].p == pytest.approx(max(found[middle].p, alone[largest]))
    assert [found[pair].shown for pair in (("a", "b"), ("a", "c"), ("b", "c"))] == [True, True, False]


def test_only_shared_repetitions_are_compared() -> None:
    found = compare({"a": {"seed=0": 1.0, "seed=1": 2.0, "seed=2": 9.0}, "b": {"seed=1": 1.5, "seed=0": 0.5}})
    assert (found["a", "b"].n, found["a", "b"].mean) == (2, 0.5)
    assert compare({"a": {"seed=0": 1.0}, "b": {"seed=1": 1.0}}) == {}


def test_one_repetition_tells_nothing_and_equals_are_equal() -> None:
    assert difference([0.9], [0.1]) == Difference(1, pytest.approx(0.8), None, None, 1.0)
    assert not difference([0.9], [0.1]).shown
    assert not difference([0.5] * 5, [0.5] * 5).shown
    assert difference([1.0] * 5, [0.5] * 5).shown, "all seeds agree to the last digit"
    with pytest.raises(ValueError, match="3 and 2 scores cannot be paired"):
        difference([1.0, 2.0, 3.0], [1.0, 2.0])


@pytest.mark.parametrize("wanted", [1, 20, 1000, 17_000, 10**6])
def test_the_size_that_comes_nearest_is_found(wanted: int) -> None:
    def lstm(units: int) -> int:  # of 3 features
        return 4 * units * (units + 3 + 1)

    found = solve_size(lstm, wanted)
    assert found == min(range(1, 2000), key=lambda units: abs(lstm(units) - wanted))


def test_parameters_that_do_not_grow_are_told() -> None:
    with pytest.raises(ValueError, match="have fewer than 100 parameters"):
        solve_size(lambda _: 7, 100)
    with pytest.raises(ValueError, match="1 and 2 units both have 7 parameters"):
        solve_size(lambda _: 7, 7)


def test_small_networks_are_matched_by_moving_the_first_one_too() -> None:
    # An LSTM has four times as many weights as a simple network of its size, so that 4,418 parameters are none of its.
    gates = {1: lambda units: units * (units + 5) + 2, 4: lambda units: 4 * units * (units + 3) + 2 * units}
    for start in (4_418, 700, 20_000):
        one, other = match_sizes(list(gates.values()), start, 0.01)
        first, second = gates[1](one), gates[4](other)
        assert abs(first - second) <= 0.01 * first
        assert abs(first - start) < 0.6 * start  # a quarter of the units
        nearer = range(min(one, solve_size(gates[1], start)) + 1, max(one, solve_size(gates[1], start)))
        for units in nearer:
            size = gates[1](units)
            assert abs(gates[4](solve_size(gates[4], size)) - size) > 0.01 * size, "a nearer one fits as well"


def test_where_nothing_matches_each_is_as_near_as_it_can_be() -> None:
    parameters = [lambda units: units, lambda units: 1000 * units]
    assert match_sizes(parameters, 1400, 0.01) == [1400, 1]
