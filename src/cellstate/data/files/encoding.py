"""From characters to tokens: the vocabulary of the training text, and each character's number in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cellstate.data.batch import UNKNOWN
from cellstate.data.files.corpus import Corpus
from cellstate.errors import RequestError

CODE_POINTS = 0x110000  # that Unicode has


@dataclass(frozen=True)
class Encoded:
    """A whole text as numbers.

    Attributes:
        vocabulary: symbol 0 stands for all that the training part does not hold, the others are those it holds.
        tokens: the number of each character, ``(N,)``, of ``token_type``.
    """

    vocabulary: tuple[str, ...]
    tokens: np.ndarray


@dataclass(frozen=True)
class Survey:
    """How long a text is, and what stands in its training part."""

    length: int
    vocabulary: tuple[str, ...]


def survey(pieces: Iterable[np.ndarray], shares: Sequence[float]) -> Survey:
    """Read a text once, and return its length and the vocabulary of its training part.

    Where that ends is known only at the end of the text; so every symbol's first place is noted, and the vocabulary are
    those whose first place lies before that border.
    """
    seen, first = np.zeros(CODE_POINTS, dtype=bool), {}
    length = 0
    for piece in pieces:
        new = np.flatnonzero(~seen[piece])
        points, places = np.unique(piece[new], return_index=True)
        first.update(zip(points.tolist(), (length + new[places]).tolist(), strict=True))
        seen[points] = True
        length += len(piece)
    border = cut_points(length, shares)[0]
    found = sorted(point for point, place in first.items() if place < border and point != ord(UNKNOWN))
    return Survey(length, (UNKNOWN, *map(chr, found)))


def cut_points(length: int, shares: Sequence[float]) -> list[int]:
    """Return where training, validation and test text end in a text of ``length`` characters.

    Raises:
        RequestError: the shares are not three numbers of 0 or more with a sum of at most 1, or no text trains.
    """
    if min(shares) < 0 or sum(shares) > 1 + 1e-9 or shares[0] <= 0 or shares[1] <= 0:
        raise RequestError(
            f"data.split={list(shares)}: give the shares of training, validation and test text, "
            "the first two above 0, together at most 1, such as [0.9,0.05,0.05]"
        )
    return [length if total > 1 - 1e-9 else int(length * total) for total in itertools.accumulate(shares)]


def token_type(symbols: int) -> np.dtype:
    """Return the smallest integer type for so many symbols, of those that torch can do everything with."""
    return np.dtype(np.uint8 if symbols <= 2**8 else np.int16 if symbols <= 2**15 else np.int32)


def encoder(vocabulary: Sequence[str]) -> np.ndarray:
    """Return the number of every code point, ``(0x110000,)``: its index in the vocabulary, 0 where it is not there."""
    table = np.zeros(CODE_POINTS, dtype=token_type(len(vocabulary)))
    table[[ord(symbol) for symbol in vocabulary]] = np.arange(len(vocabulary))
    return table


def encode_in_memory(corpus: Corpus, shares: Sequence[float], vocabulary: Sequence[str] | None = None) -> Encoded:
    """Return a text encoded, its tokens in memory; with a given vocabulary in place of that of its training part."""
    found = survey(corpus.pieces(), shares)
    symbols = found.vocabulary if vocabulary is None else tuple(vocabulary)
    table = encoder(symbols)
    tokens = np.concatenate([table[piece] for piece in corpus.pieces()] or [table[:0]])
    check_length(corpus, len(tokens), found.length)
    return Encoded(symbols, tokens)


def check_length(corpus: Corpus, read: int, expected: int) -> None:
    """Refuse a text that changed between the two times it is read.

    Raises:
        RequestError: it did.
    """
    if read != expected:
        raise RequestError(f"{corpus.name}: was changed while it was read; try again when nothing writes to it")
