"""Interpolated n-gram models of any alphabet, the baselines of language models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Up to so many possible n-grams are counted in an array, which is faster than sorting.
COUNTABLE = 2**24
STRETCH = 2**18  # tokens processed at a time, as a mapped text may be larger than memory

Part = tuple[np.ndarray, np.ndarray]
"""Contexts of one size, and the targets after them, ``(N,)`` each."""


@dataclass(frozen=True)
class Followers:
    """Counts of the symbols after each context of one size. A context is a number with the symbols as digits."""

    contexts: np.ndarray  # (K,) existing ones, ascending
    totals: np.ndarray  # (K,) their counts
    kinds: np.ndarray  # (K,) number of distinct next symbols
    pairs: np.ndarray  # (P,) context * symbols + symbol, ascending
    counts: np.ndarray  # (P,) their counts


class Ngrams:
    """Interpolated n-gram probabilities, with the weights of Witten & Bell (1991):

        p(s | context) = (count(context, s) + kinds(context) * p(s | shorter context)) / (count(context) + kinds)

    where kinds(context) is the number of distinct symbols after it; the shorter context lacks the oldest symbol, and
    below the empty context all symbols are equally likely. Only existing contexts are stored, so the alphabet may be as
    large as Unicode.
    """

    def __init__(self, train: np.ndarray, symbols: int, longest: int) -> None:
        self._count(lambda size: parts_of(train, size, symbols), min(longest, len(train) - 1), symbols)

    @classmethod
    def of_contexts(cls, contexts: np.ndarray, sizes: np.ndarray, targets: np.ndarray, symbols: int) -> Ngrams:
        """Count targets after given contexts, ``(N,)`` each, such as those within separate sequences.

        A context counts at its own size and at all smaller ones.
        """

        def of_size(size: int) -> Iterator[Part]:
            whole = sizes >= size
            yield contexts[whole] % symbols**size, targets[whole]

        self = cls.__new__(cls)
        self._count(of_size, int(sizes.max()), symbols)
        return self

    def _count(self, parts: Callable[[int], Iterable[Part]], longest: int, symbols: int) -> None:
        self.symbols = symbols
        self.tables: list[Followers] = []
        self._likeliest: list[np.ndarray] = []  # per table, (K,) the likeliest next symbol
        for size in range(longest + 1):
            self.tables.append(followers(parts(size), size, symbols))
            self._likeliest.append(self._best(size))

    def probabilities(self, contexts: np.ndarray, sizes: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return p(target | context), ``(P,)``, for contexts ``(P,)`` of ``sizes (P,)`` symbols."""
        result = np.full(len(contexts), 1.0 / self.symbols)
        for size, table in enumerate(self.tables):
            shorter = contexts % self.symbols**size
            rows, seen = find(table.contexts, shorter)
            pairs, followed = find(table.pairs, shorter * self.symbols + targets)
            counts, kinds = np.where(followed, table.counts[pairs], 0), table.kinds[rows]
            mixed = (counts + kinds * result) / (table.totals[rows] + kinds)
            result = np.where(seen & (sizes >= size), mixed, result)
        return result

    def likeliest(self, contexts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Return the likeliest next symbol of each context, ``(P,)``; ties go to the first."""
        result = np.zeros(len(contexts), np.int64)
        for size, (table, best) in enumerate(zip(self.tables, self._likeliest, strict=False)):
            rows, seen = find(table.contexts, contexts % self.symbols**size)
            result = np.where(seen & (sizes >= size), best[rows], result)
        return result

    def _best(self, size: int) -> np.ndarray:
        """Return the likeliest next symbol of each context of ``size`` symbols, ``(K,)``.

        It is one of the observed next symbols, or else the likeliest for the shorter context, as interpolation
        preserves the order of unobserved symbols.
        """
        table = self.tables[size]
        backoff = self.likeliest(table.contexts, np.full(len(table.contexts), size - 1))
        contexts = np.concatenate((table.pairs // self.symbols, table.contexts))
        candidates = np.concatenate((table.pairs % self.symbols, backoff))
        chances = self.probabilities(contexts, np.full(len(contexts), size), candidates)
        order = np.lexsort((candidates, -chances, contexts))
        _, first = np.unique(contexts[order], return_index=True)
        return candidates[order][first]


def contexts_of(tokens: np.ndarray, longest: int, symbols: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the context of each of ``tokens (N,)`` as a number, and its size: ``longest``, less at the start."""
    contexts = np.zeros(len(tokens), np.int64)
    for back in range(1, min(longest, len(tokens) - 1) + 1):
        contexts[back:] += tokens[:-back] * symbols ** (back - 1)
    return contexts, np.minimum(np.arange(len(tokens)), longest)


def parts_of(tokens: np.ndarray, size: int, symbols: int) -> Iterator[Part]:
    """Yield the contexts of ``size`` of all ``tokens (N,)`` but the first ``size``, and these tokens."""
    for start in range(size, len(tokens), STRETCH):
        part = tokens[start - size : start + STRETCH].astype(np.int64)
        contexts, _ = contexts_of(part, size, symbols)
        yield contexts[size:], part[size:]


def followers(parts: Iterable[Part], size: int, symbols: int) -> Followers:
    """Count the targets after each context of ``size`` symbols."""
    pairs, counts = occurrences(parts, size, symbols)
    known, first, kinds = np.unique(pairs // symbols, return_index=True, return_counts=True)
    return Followers(known, np.add.reduceat(counts, first), kinds, pairs, counts)


def occurrences(parts: Iterable[Part], size: int, symbols: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the existing pairs ``context * symbols + target``, ascending, and their counts, ``(P,)`` each."""
    possible = symbols ** (size + 1)
    if possible <= COUNTABLE:
        counted = np.zeros(possible, np.int64)
        for contexts, targets in parts:
            counted += np.bincount(contexts * symbols + targets, minlength=possible)
        pairs = np.flatnonzero(counted)
        return pairs, counted[pairs]
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for contexts, targets in parts:
        pairs, counts = np.unique(contexts * symbols + targets, return_counts=True)
        found.append((pairs, counts))
        if sum(len(pairs) for pairs, _ in found[1:]) > len(found[0][0]):  # limits the number of sorts of the total
            found = [united(found)]
    return united(found)


def united(found: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Merge lists of pairs and their counts."""
    if len(found) == 1:
        return found[0]
    none = np.zeros(0, np.int64)
    pairs, places = np.unique(np.concatenate([none, *(pairs for pairs, _ in found)]), return_inverse=True)
    counts = np.zeros(len(pairs), np.int64)
    np.add.at(counts, places, np.concatenate([none, *(times for _, times in found)]))
    return pairs, counts


def find(ascending: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of each of ``wanted (P,)`` in ``ascending (K,)``, and whether it exists."""
    rows = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return rows, ascending[rows] == wanted
