"""Does a binary sequence contain a contiguous pattern? Balanced by construction, no string in two splits."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from typing_extensions import override

from cellstate.config.types import Length, PositiveInt
from cellstate.data.datamodule import Scores
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.automaton import BLOCK, PatternAutomaton, as_pattern
from cellstate.data.synthetic.classification import GeneratedClassification
from cellstate.data.synthetic.generated import SPLITS, check_request
from cellstate.data.synthetic.randomness import CounterRandom, as_counters, mix_in_place, row_blocks

SPLIT_SHARES = (0.8, 0.1, 0.1)  # of all strings
LEAST_SHARE = 0.01  # smaller parts need too many redraws
MOST_STEPS = 1_000_000  # length times states in counting the strings that avoid a pattern: about a minute
LEAST_STRINGS = 64  # least expected number per label and split


def pattern_sequences(
    indices: ArrayLike | Sequence[int],
    *,
    seed: int,
    split: str,
    pattern: Sequence[int],
    length: int,
    positive_share: float | None = 0.5,
    split_shares: Sequence[float] = SPLIT_SHARES,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return bits ``(N, length)`` and labels ``(N,)`` (1: contains the pattern) of the samples ``indices`` of a split.

    A sample is a pure function of its index and the keyword arguments. Positives are fair coins with the pattern
    planted at a uniformly random position; negatives are uniform among all strings that avoid it. Labels are fixed by
    index, so that exactly ``floor(n * positive_share)`` of the first ``n`` samples are positive.

    ``positive_share=None`` is the textbook procedure: with probability 1/2 each, a planted sample or plain fair coins,
    labelled by their content. Its classes are rarely balanced: see ``textbook_positive_share``.

    If ``splits_are_disjoint``, every string belongs to one split (``split_of``), and draws that belong to another are
    redrawn: the distributions above are then conditional on the split.
    RequestError if the pattern does not fit into the length, or a share or the split is invalid.
    """
    automaton = _automaton(as_pattern(pattern))
    _check_request(automaton, length, split, positive_share, split_shares)
    counters = as_counters(indices)
    random = CounterRandom("pattern", seed, split, _name(automaton.pattern), length)
    if positive_share is None:
        planted = random.child("planted").coins(counters, 1)[:, 0] == 1
    else:
        planted = _labels_by_share(counters, positive_share)

    bits = np.empty((len(counters), length), np.uint8)
    disjoint = splits_are_disjoint(pattern, length, split_shares)
    pending = np.arange(len(counters))
    attempt = 0
    while pending.size:  # terminates: each pass accepts a row with about the probability of the split's share
        stream = random.child(attempt)
        rejected = []
        for block in row_blocks(pending.size, max(length, 2048), BLOCK):
            rows = pending[block]
            drawn = _draw(stream, automaton, counters[rows], planted[rows], length, textbook=positive_share is None)
            if disjoint:
                own = split_of(drawn, seed=seed, pattern=pattern, split_shares=split_shares) == SPLITS.index(split)
                rejected.append(rows[~own])
                rows, drawn = rows[own], drawn[own]
            bits[rows] = drawn
        pending = np.concatenate(rejected) if rejected else pending[:0]
        attempt += 1

    labels = automaton.contains(bits) if positive_share is None else planted
    return bits, labels.astype(np.int64)


def textbook_positive_share(pattern: Sequence[int], length: int) -> Fraction:
    """Return the exact share of positives if half of the sequences are planted and the rest are fair coins.

    ``1/2 + 1/2 * P(fair coins contain it)``: 0.9863 for 1, 1, 0 in 20 steps, the accuracy of always answering "yes".
    """
    automaton = _automaton(as_pattern(pattern))
    _check_request(automaton, length)
    return (1 + automaton.share_containing(length)) / 2


def splits_are_disjoint(pattern: Sequence[int], length: int, split_shares: Sequence[float] = SPLIT_SHARES) -> bool:
    """Return whether no string is in two splits: whether each split can expect at least 64 strings of each label.

    Otherwise (short sequences; a pattern like [1], which a single string avoids) the splits are independent draws from
    all strings and may overlap.
    """
    automaton = _automaton(as_pattern(pattern))
    avoiding = automaton.count_avoiding(length)
    return min(avoiding, 2**length - avoiding) * Fraction(min(split_shares)) >= LEAST_STRINGS


def split_of(
    bits: NDArray[np.uint8], *, seed: int, pattern: Sequence[int], split_shares: Sequence[float] = SPLIT_SHARES
) -> NDArray[np.intp]:
    """Return ``(N,)``: the index in ``SPLITS`` of the split that owns each string of ``(N, T)`` bits.

    A hash of the content, keyed by seed, pattern and length (the same for all splits), compared with the cumulative
    shares. For 64-bit words ``w``, ``h <- mix(h ^ w)`` from a random ``h``, finally once more with a second key.
    """
    rows, length = bits.shape
    name = _name(as_pattern(pattern))
    first_key, last_key = CounterRandom("pattern", seed, "partition", name, length).bits([0], 2)[0]
    packed = np.packbits(bits, axis=1, bitorder="little")
    padded = np.zeros((rows, -(-length // 64) * 8), np.uint8)
    padded[:, : packed.shape[1]] = packed
    hashes = np.full(rows, first_key, np.uint64)
    for words in padded.view("<u8").T:
        hashes ^= words
        mix_in_place(hashes)
    hashes ^= last_key
    mix_in_place(hashes)
    fractions = (hashes >> np.uint64(11)) * 2.0**-53
    return np.searchsorted(np.cumsum(split_shares)[:-1], fractions, side="right")


def _draw(
    random: CounterRandom,
    automaton: PatternAutomaton,
    indices: NDArray[np.uint64],
    planted: NDArray[np.bool_],
    length: int,
    *,
    textbook: bool,
) -> NDArray[np.uint8]:
    """Draw a string per index, ``(N, length)``: planted if requested, else avoiding (textbook: fair coins)."""
    bits = np.empty((len(indices), length), np.uint8)
    coins = slice(None) if textbook else planted
    bits[coins] = random.child("bits").coins(indices[coins], length)
    if not textbook:
        bits[~planted] = automaton.sample_avoiding(random.child("avoiding").uniform(indices[~planted], length))
    size = len(automaton.pattern)
    place = random.child("place").integers(indices[planted], 1, length - size + 1)  # (n, 1)
    bits[np.flatnonzero(planted)[:, None], place + np.arange(size)] = automaton.pattern
    return bits


def _labels_by_share(indices: NDArray[np.uint64], positive_share: float) -> NDArray[np.bool_]:
    """Return ``(N,)``: ``floor((i + 1) * share) - floor(i * share)``, so that the first n hold floor(n * share).

    In integers, without rounding: the share is approximated by the nearest fraction p / q with q up to a million (0.3
    as 3/10), and labels repeat every q.
    """
    share = Fraction(positive_share).limit_denominator(1_000_000)
    place = (indices % np.uint64(share.denominator)).astype(np.int64)
    before, after = (place + step for step in (0, 1))
    return after * share.numerator // share.denominator > before * share.numerator // share.denominator


def _check_request(
    automaton: PatternAutomaton,
    length: int,
    split: str = SPLITS[0],
    positive_share: float | None = None,
    split_shares: Sequence[float] = SPLIT_SHARES,
) -> None:
    """Raise RequestError with all problems of a request."""
    size = len(automaton.pattern)
    problems = []
    if length < size:
        problems.append(
            f"data.length={length} is shorter than the pattern {_name(automaton.pattern)}, so no sequence can contain "
            f"it: set data.length to {size} or more"
        )
    if (size + 1) * length > MOST_STEPS:
        problems.append(
            f"data.length={length} with a pattern of {size:,} bits: counting the sequences without it takes too long; "
            f"set data.length to {MOST_STEPS // (size + 1):,} or less, or a shorter data.pattern"
        )
    if positive_share is not None and not 0 <= positive_share <= 1:
        problems.append(f"data.balance={positive_share}: must be from 0 to 1 (or null for the textbook procedure)")
    if (
        len(split_shares) != len(SPLITS)
        or not all(share >= LEAST_SHARE for share in split_shares)
        or abs(sum(split_shares) - 1) > 1e-9
    ):
        problems.append(
            f"split_shares={list(split_shares)}: give {len(SPLITS)} shares ({', '.join(SPLITS)}) of {LEAST_SHARE} or "
            "more that sum to 1"
        )
    check_request(split, problems)


def _name(pattern: Sequence[int]) -> str:
    """Return a pattern as text, such as "110"."""
    return "".join(map(str, pattern))


@lru_cache(maxsize=16)
def _automaton(pattern: tuple[int, ...]) -> PatternAutomaton:
    """Return the pattern's automaton, cached."""
    return PatternAutomaton(pattern)


class PatternData(GeneratedClassification):
    """Does a sequence of bits contain a pattern? Two classes, balanced by construction.

    Positives are random bits with the pattern planted at a random position, negatives are drawn uniformly from the
    strings that avoid it. ``balance=None`` is the textbook procedure: one half planted, the other half random bits
    labelled by their content, which nearly always includes the pattern.

    Args:
        pattern: the bits to look for.
        length: steps of a sequence.
        balance: share of sequences that contain the pattern.

    The other arguments are those of ``GeneratedData``.
    """

    def __init__(
        self,
        *,
        pattern: Sequence[int] = (1, 1, 0),
        length: Length = 20,
        balance: Annotated[float, Field(ge=0, le=1)] | None = 0.5,
        train_size: PositiveInt = 8000,
        val_size: PositiveInt = 2000,
        test_size: PositiveInt = 2000,
        fresh: bool = False,
        batch_size: PositiveInt = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(
            train_size=train_size, val_size=val_size, test_size=test_size, fresh=fresh, batch_size=batch_size, seed=seed
        )
        self.pattern, self.length, self.balance = tuple(pattern), length, balance

    @override
    def class_names(self) -> tuple[str, ...]:
        return f"without {_name(self.pattern)}", f"with {_name(self.pattern)}"

    @override
    def input_values(self) -> tuple[float, ...]:
        return 0.0, 1.0

    @override
    def longest(self) -> int:
        return self.length

    @override
    def question(self) -> str:
        return f"does a sequence of {self.length} bits contain {_name(self.pattern)}?"

    @override
    def notes(self) -> tuple[str, ...]:
        notes = ()
        if self.balance is None:
            share = float(textbook_positive_share(self.pattern, self.length))
            notes = (f"textbook procedure: {share:.2%} of the sequences are expected to contain it",)
        if splits_are_disjoint(self.pattern, self.length):
            return notes
        return (
            *notes,
            f"there are too few strings of {self.length} bits for disjoint splits: they may overlap",
        )

    @override
    def references(self) -> dict[str, Scores]:
        """Always predicting the more common class; for the textbook procedure also its expected score."""
        found = super().references()
        if self.balance is None:
            share = float(textbook_positive_share(self.pattern, self.length))
            found["accuracy"]["majority_expected"] = max(share, 1 - share)
        return found

    @override
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        bits, labels = pattern_sequences(
            indices,
            seed=self.seed,
            split=split,
            pattern=self.pattern,
            length=self.length,
            positive_share=self.balance,
        )
        inputs = torch.from_numpy(bits).float().unsqueeze(-1)  # (N, length, 1)
        return TensorSamples(inputs, torch.from_numpy(labels))
