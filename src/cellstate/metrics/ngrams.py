"""Interpolated n-gram probabilities of any alphabet: the models that a language model has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Below so many possible n-grams they are counted in an array of that size, which is faster than sorting the text.
COUNTABLE = 2**24


@dataclass(frozen=True)
class Followers:
    """What followed each context of one size. A context is a number: its symbols are the digits, the newest last."""

    contexts: np.ndarray  # (K,) those that occur, ascending
    totals: np.ndarray  # (K,) how often
    kinds: np.ndarray  # (K,) different symbols that followed
    pairs: np.ndarray  # (P,) context * symbols + symbol, ascending
    counts: np.ndarray  # (P,) how often


class Ngrams:
    """Interpolated n-gram probabilities, with the weights of Witten & Bell (1991):

        p(s | context) = (count(context, s) + kinds(context) * p(s | shorter context)) / (count(context) + kinds)

    where kinds(context) is how many different symbols followed it; the shorter context lacks the oldest symbol, and
    below the empty context all symbols are equally likely. Only what occurs is stored, so that the alphabet may be as
    large as Unicode.
    """

    def __init__(self, train: np.ndarray, symbols: int, longest: int) -> None:
        self.symbols = symbols
        self.tables: list[Followers] = []
        self._likeliest: list[np.ndarray] = []  # per table, (K,) the likeliest symbol after each context
        for size in range(min(longest, len(train) - 1) + 1):
            contexts, _ = contexts_of(train.astype(np.int64), size, symbols)
            self.tables.append(followers(contexts[size:], train[size:].astype(np.int64), symbols))
            self._likeliest.append(self._best(size))

    def probabilities(self, contexts: np.ndarray, sizes: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return p(target | context), ``(P,)``, of contexts ``(P,)`` of ``sizes (P,)`` symbols."""
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
        """Return the symbol of the highest probability after each context, ``(P,)``; the first of several."""
        result = np.zeros(len(contexts), np.int64)
        for size, (table, best) in enumerate(zip(self.tables, self._likeliest, strict=False)):
            rows, seen = find(table.contexts, contexts % self.symbols**size)
            result = np.where(seen & (sizes >= size), best[rows], result)
        return result

    def _best(self, size: int) -> np.ndarray:
        """Return the likeliest symbol after each context of ``size`` symbols, ``(K,)``.

        It is one of those that followed the context, or else the likeliest after the shorter context: all symbols that
        did not follow keep the order that they have there.
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
    """Return the context before each of ``tokens (N,)`` as a number, and its size: ``longest``, less at the start."""
    contexts = np.zeros(len(tokens), np.int64)
    for back in range(1, min(longest, len(tokens) - 1) + 1):
        contexts[back:] += tokens[:-back] * symbols ** (back - 1)
    return contexts, np.minimum(np.arange(len(tokens)), longest)


def followers(contexts: np.ndarray, targets: np.ndarray, symbols: int) -> Followers:
    """Count which of ``targets (N,)`` followed which of ``contexts (N,)``."""
    codes = contexts * symbols + targets
    if codes.max() < COUNTABLE:
        counts = np.bincount(codes)
        pairs = np.flatnonzero(counts)
        counts = counts[pairs]
    else:
        pairs, counts = np.unique(codes, return_counts=True)
    known, first, kinds = np.unique(pairs // symbols, return_index=True, return_counts=True)
    return Followers(known, np.add.reduceat(counts, first), kinds, pairs, counts)


def find(ascending: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each of ``wanted (P,)`` stands in ``ascending (K,)``, and whether it does at all."""
    rows = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return rows, ascending[rows] == wanted
