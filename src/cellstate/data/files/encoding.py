"""Character tokenisation: the vocabulary of the training text, and the index of each character in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cellstate.data.batch import UNKNOWN
from cellstate.data.files.corpus import Corpus
from cellstate.data.splitting import check_shares
from cellstate.errors import RequestError

CODE_POINTS = 0x110000  # size of Unicode


@dataclass(frozen=True)
class Encoded:
    """A tokenised text.

    Attributes:
        vocabulary: the symbols of the training part, after symbol 0, which represents all others.
        tokens: the index of each character, ``(N,)``, of ``token_type``.
    """

    vocabulary: tuple[str, ...]
    tokens: np.ndarray


@dataclass(frozen=True)
class Survey:
    """The length of a text and the vocabulary of its training part."""

    length: int
    vocabulary: tuple[str, ...]


def survey(pieces: Iterable[np.ndarray], shares: Sequence[float]) -> Survey:
    """Read a text once, and return its length and the vocabulary of its training part.

    The end of the training part is known only after the text has been read, so the first position of every symbol is
    recorded; the vocabulary contains the symbols whose first position is before that end.
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
    """Return the ends of the training, validation and test part of a text of ``length`` characters.

    Raises:
        RequestError: the shares are invalid (see ``check_shares``).
    """
    check_shares(shares)
    return [length if total > 1 - 1e-9 else int(length * total) for total in itertools.accumulate(shares)]


def token_type(symbols: int) -> np.dtype:
    """Return the smallest integer type for so many symbols, of those that torch fully supports."""
    return np.dtype(np.uint8 if symbols <= 2**8 else np.int16 if symbols <= 2**15 else np.int32)


def encoder(vocabulary: Sequence[str]) -> np.ndarray:
    """Return the vocabulary index of every code point, ``(0x110000,)``, 0 if it is not in the vocabulary."""
    table = np.zeros(CODE_POINTS, dtype=token_type(len(vocabulary)))
    table[[ord(symbol) for symbol in vocabulary]] = np.arange(len(vocabulary))
    return table


def encode_in_memory(corpus: Corpus, shares: Sequence[float], vocabulary: Sequence[str] | None = None) -> Encoded:
    """Return an encoded text with its tokens in memory; a given vocabulary replaces that of its training part."""
    found = survey(corpus.pieces(), shares)
    symbols = found.vocabulary if vocabulary is None else tuple(vocabulary)
    table = encoder(symbols)
    tokens = np.concatenate([table[piece] for piece in corpus.pieces()] or [table[:0]])
    check_length(corpus, len(tokens), found.length)
    return Encoded(symbols, tokens)


def check_length(corpus: Corpus, read: int, expected: int) -> None:
    """Reject a text that changed between the two passes over it (RequestError)."""
    if read != expected:
        raise RequestError(f"{corpus.name}: changed while it was being read; try again when nothing writes to it")
