"""The embedded Reber grammar, held against a regular expression, all its strings up to a length, and sums by hand."""

import math
import re
from collections import Counter

import numpy as np
import pytest
import torch

from cellstate.data.synthetic.embedded_reber import (
    SYMBOLS,
    EmbeddedReberData,
    embedded_reber_grammar,
    embedded_reber_strings,
)
from cellstate.data.synthetic.generated import SPLITS
from cellstate.errors import RequestError
from cellstate.metrics.tokens import IGNORED, TokenScores

SIGMAS = 5.0  # a true claim fails with probability 6e-7

# Written down from the drawing of the automaton, independently of its table. After T, S*, X one stands at the upper
# right node (U); after P, T*, V at the lower right one, whose way on by P leads to U.
U = "(?:XT*VP)*(?:S|XT*VV)"
INNER = f"B(?:TS*X{U}|PT*V(?:V|P{U}))E"


def embedded(repeats):
    return re.compile(f"B([TP])(?:{INNER}){{{repeats}}}\\1E")


def strings(indices, *, seed=0, split="train", **options):
    symbols, lengths = embedded_reber_strings(indices, seed=seed, split=split, **options)
    return ["".join(SYMBOLS[code] for code in row[:length]) for row, length in zip(symbols, lengths, strict=True)]


# A second table: the two halves of the drawing, each node by how it is reached; U and L are the right ones.
AFTER = {
    "": "TP",
    "T": "SX",  # upper left
    "P": "TV",  # lower left
    "U": "XS",  # upper right
    "L": "PV",  # lower right
}
MOVES = {
    ("", "T"): "T",
    ("", "P"): "P",
    ("T", "S"): "T",
    ("T", "X"): "U",
    ("P", "T"): "P",
    ("P", "V"): "L",
    ("U", "X"): "P",
    ("U", "S"): "end",
    ("L", "P"): "U",
    ("L", "V"): "end",
}


def inner_strings(least_chance):
    """All Reber strings of at least that probability: text -> probability."""
    found, open_ways = {}, [("B", "", 1.0)]
    while open_ways:
        text, node, chance = open_ways.pop()
        for symbol in AFTER[node]:
            goal = MOVES[node, symbol]
            if goal == "end":
                found[f"{text}{symbol}E"] = chance / 2
            elif chance / 2 >= least_chance:
                open_ways.append((text + symbol, goal, chance / 2))
    return found


@pytest.fixture(scope="module")
def enumerated():
    """All strings of up to 19 forks: 99.5 % of what comes up."""
    found = inner_strings(2.0**-19)
    assert 0.995 < sum(found.values()) < 1
    return found


def strings_by_forks(most=400):
    """How many Reber strings have so many forks, for each number up to ``most``; they have B and E beside them."""
    ways, found = {"": 1}, []
    for _ in range(most + 1):
        found.append(ways.pop("end", 0))
        after = Counter()
        for node, count in ways.items():
            for symbol in AFTER[node]:
                after[MOVES[node, symbol]] += count
        ways = after
    return found


@pytest.fixture(scope="module")
def standard():
    return EmbeddedReberData(train_size=1000, val_size=200, test_size=500)


@pytest.mark.parametrize("repeats", [1, 2, 15])
def test_every_string_is_of_the_grammar(repeats):
    accepted = embedded(repeats)
    for text in strings(range(3000), repeats=repeats):
        assert accepted.fullmatch(text), text


def test_strings_are_as_frequent_as_their_forks_say(enumerated):
    count = 40_000
    found = Counter(strings(range(count)))
    for marker in "TP":
        for inner, chance in enumerated.items():
            share = chance / 2
            if share * count >= 25:
                times = found[f"B{marker}{inner}{marker}E"]
                assert abs(times - share * count) < SIGMAS * math.sqrt(share * (1 - share) * count)


def test_the_optimum_is_the_quotient_of_sums_by_hand():
    """Expected symbols to come from a node, itself in one equation each: with the end one step E,

        T = 1 + T/2 + U/2,  P = 1 + P/2 + L/2,  U = 1 + P/2 + 1/2,  L = 1 + U/2 + 1/2
        => U = 13/3, L = 11/3, P = 17/3, T = 19/3; B and the first choice: 2 + (T + P)/2 = 8 symbols a Reber string.

    The same without the E's 1: forks, U = 10/3, L = 8/3, P = 14/3, T = 16/3, and 1 + (T + P)/2 = 6 of them. Around it,
    four symbols and a fork: 12 symbols, of which 11 are targets, and 7 forks.
    """
    optimum = EmbeddedReberData().optimum()
    assert optimum["loss"] == pytest.approx(7 * math.log(2) / 11, rel=1e-12)
    assert optimum["bpc"] == pytest.approx(7 / 11, rel=1e-12)
    assert optimum["accuracy"] == pytest.approx(1 - 3.5 / 11, rel=1e-12)
    assert optimum["closing_accuracy"] == 1


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_optimum_is_that_of_all_strings(enumerated, repeats):
    """A string of so many forks has probability 2^-forks; strings of more than 400 do not come up."""
    numbers = strings_by_forks()
    counted = Counter(round(-math.log2(chance)) for chance in enumerated.values())
    assert numbers[:20] == [counted[forks] for forks in range(20)]
    chances = [count / 2**forks for forks, count in enumerate(numbers)]
    assert sum(chances) == pytest.approx(1, rel=1e-12)
    forks = sum(chance * forks for forks, chance in enumerate(chances))
    targets = repeats * (forks + 2) + 3
    optimum = EmbeddedReberData(repeats=repeats).optimum()
    assert optimum["loss"] == pytest.approx((1 + repeats * forks) * math.log(2) / targets, rel=1e-10)
    assert optimum["accuracy"] == pytest.approx(1 - (1 + repeats * forks) / 2 / targets, rel=1e-10)


def test_the_chance_that_two_strings_are_equal_is_the_sum_of_squares(enumerated):
    squares = sum(chance**2 for chance in enumerated.values()) / 2
    assert embedded_reber_grammar().visits(0.25)[-1] == pytest.approx(squares, rel=1e-6)


def test_what_the_test_strings_allow_is_the_mean_of_their_logarithms(standard):
    """A string's -ln p, counted by its symbols: each node of the second table that is passed costs ln 2."""
    nats = targets = 0
    for text in strings(range(500), split="test"):
        node, forks = "", 1  # one for what opens
        for symbol in text[3:-3]:
            forks += 1
            node = MOVES[node, symbol]
        assert node == "end"
        nats += forks * math.log(2)
        targets += len(text) - 1
    table = standard.reference_table()
    assert table["loss"]["optimum_realised"] == pytest.approx(nats / targets, rel=1e-12)
    assert table["accuracy"]["optimum_realised"] == pytest.approx(1 - nats / math.log(2) / 2 / targets, rel=1e-12)
    assert table["loss"]["guessed_close"] == pytest.approx((nats + 500 * math.log(2)) / targets, rel=1e-12)
    assert table["closing_accuracy"] == {"optimum": 1.0, "optimum_realised": 1.0, "guessed_close": 0.5}


def test_what_the_test_strings_allow_is_near_what_can_be_expected():
    """The spread of a quotient of means, nats over symbols, is that of nats - quotient * symbols, over the symbols."""
    data = EmbeddedReberData(train_size=100, val_size=64, test_size=5000)
    optimum, realised = data.optimum()["loss"], data.optimum_realised()["loss"]
    texts = strings(range(5000), split="test")
    targets = np.asarray([len(text) - 1 for text in texts])
    nats = np.asarray([len(text) - 5 for text in texts]) * math.log(2)  # all but B, B, E, the close and E are forks
    assert realised == pytest.approx(nats.sum() / targets.sum(), rel=1e-12)
    spread = (nats - optimum * targets).std() / math.sqrt(5000) / targets.mean()
    assert abs(realised - optimum) < SIGMAS * spread


def test_no_counted_chain_knows_what_closes(standard):
    loss = standard.reference_table()["loss"]
    assert loss["optimum_realised"] < loss["guessed_close"] < loss["chain_3"] < loss["chain_2"] < loss["unigram"]


def test_either_opening_is_as_likely_as_the_other():
    count = 20_000
    opened = sum(text[1] == "T" for text in strings(range(count)))
    assert abs(opened - count / 2) < SIGMAS * math.sqrt(count) / 2


def test_samples_ask_for_the_next_symbol(standard):
    samples = standard.samples("train")
    assert samples.lengths is not None
    for row, text in enumerate(strings(range(200))):
        length = int(samples.lengths[row])
        assert length == len(text) - 1
        assert "".join(SYMBOLS[code] for code in samples.inputs[row, :length]) == text[:-1]
        assert "".join(SYMBOLS[code] for code in samples.targets[row, :length]) == text[1:]
        assert (samples.targets[row, length:] == IGNORED).all()


def scores_of(standard, logits):
    scores = TokenScores(torch.device("cpu"), standard.spec.answer)
    for rows in (slice(0, 123), slice(123, None)):
        scores.update(logits[rows], standard.samples("test").targets[rows])
    return scores.compute()


def test_only_the_symbol_that_closes_counts_for_the_closing_accuracy(standard):
    targets = standard.samples("test").targets
    lengths = standard.samples("test").lengths
    opened = standard.samples("test").inputs[:, 1]
    rows = torch.arange(len(targets))
    logits = torch.zeros(*targets.shape, len(SYMBOLS))
    logits[rows, lengths - 2, opened] = 1.0  # what opened closes; of all else, nothing
    assert scores_of(standard, logits)["closing_accuracy"] == 1.0
    perfect = torch.nn.functional.one_hot(targets.clamp(min=0), len(SYMBOLS)).float()
    perfect[rows, lengths - 2] = 0.0
    perfect[rows, lengths - 2, SYMBOLS.index("T")] = 1.0
    share = (opened == SYMBOLS.index("T")).double().mean().item()
    scores = scores_of(standard, perfect)
    assert scores["closing_accuracy"] == pytest.approx(share, rel=1e-12)
    wrong = round((1 - share) * len(targets))
    assert scores["accuracy"] == pytest.approx(1 - wrong / int(lengths.sum()), rel=1e-12)


def test_a_string_is_the_same_whoever_asks_in_whatever_order():
    """Repeated often, strings are longer than the coins drawn at a time, and end at different steps."""
    drawn = strings(range(300), repeats=15)
    assert min(map(len, drawn)) > 64
    order = np.random.default_rng(0).permutation(300)
    assert strings(order, repeats=15) == [drawn[index] for index in order]
    assert strings([299], repeats=15) == drawn[299:]


def test_splits_and_seeds_are_different_draws():
    draws = [tuple(strings(range(64), split=split)) for split in SPLITS]
    draws += [tuple(strings(range(64), seed=1))]
    assert len(set(draws)) == len(draws)


def test_the_data_is_a_function_of_its_parameters_alone():
    def fingerprint(**options):
        return EmbeddedReberData(train_size=100, val_size=64, test_size=64, **options).fingerprint

    base = fingerprint()
    assert fingerprint(batch_size=7) == base
    assert len({base, fingerprint(seed=1), fingerprint(repeats=2)}) == 3


def test_the_facts_tell_that_splits_share_strings(standard):
    shared = set(strings(range(1000))) & set(strings(range(500), split="test"))
    assert shared
    assert "splits share short strings" in standard.prepared.facts[1]


def test_an_empty_embedding_is_refused():
    with pytest.raises(RequestError) as caught:
        strings([0], split="trian", repeats=0)
    assert len(caught.value.problems) == 2
    assert caught.value.problems[0] == "data.repeats=0 is too small: set data.repeats to 1 or more"
    assert "did you mean 'train'" in caught.value.problems[1]
