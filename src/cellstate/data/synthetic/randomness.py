"""Counter-based random numbers: the value at (row, column) of a named stream, independent of earlier draws."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, made odd: the step of SplitMix64's counter
BLOCK_WORDS = 1 << 16  # words processed at a time: half a megabyte fits into the cache


class CounterRandom:
    """A stream of random numbers named by a key and addressed by ``(index, column)``.

    It is stateless: a value depends only on the key, the row index and the column. So a data set drawn by index does
    not depend on order, worker count or rank, and a wider draw starts with the columns of a narrower one.

    SHA-256 of the key gives two 64-bit words ``k0, k1``. Row ``i`` is the SplitMix64 generator seeded with
    ``mix(k0 + GOLDEN * (i + 1)) ^ k1``, and column ``j`` is that generator's j-th output
    (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").

    A single counter ``i * width + j`` would place all streams on one cycle of 2^64, so that two keys could give shifted
    copies of each other, and values would depend on the width. Here each row starts at a scattered position of the
    cycle, and rows of two keys coincide only if both words do. Rows overlap by chance: among R rows of width W, with
    probability below ``R^2 W / 2^64`` (5e-6 for a million rows of 100).

    Parts of the key are strings and integers. ``child(name)`` appends ``name`` to the key.
    """

    def __init__(self, *key: str | int) -> None:
        self.key = tuple(part if isinstance(part, str) else operator.index(part) for part in key)
        digest = hashlib.sha256(
            json.dumps(self.key).encode()
        ).digest()  # JSON keeps ("1", 2), (1, "2") and ("12",) apart
        self._words = np.frombuffer(digest, dtype="<u8").astype(np.uint64)

    def __repr__(self) -> str:
        return f"CounterRandom({', '.join(map(repr, self.key))})"

    def child(self, name: str | int) -> CounterRandom:
        """Return the independent stream with ``name`` appended to the key."""
        return CounterRandom(*self.key, name)

    def bits(self, indices: ArrayLike | Sequence[int], width: int) -> NDArray[np.uint64]:
        """Return ``(N, width)`` words of 64 random bits for ``(N,)`` non-negative row indices."""
        seeds = self._row_seeds(indices)
        words = np.empty((len(seeds), width), np.uint64)
        for rows in row_blocks(len(seeds), width):
            words[rows] = splitmix64(seeds[rows], width)
        return words

    def coins(self, indices: ArrayLike | Sequence[int], width: int) -> NDArray[np.uint8]:
        """Return ``(N, width)`` fair coins, 0 or 1: column ``j`` is bit ``j % 64`` of word ``j // 64`` of ``bits``."""
        words = self.bits(indices, -(-width // 64)).astype("<u8", copy=False)
        return np.unpackbits(words.view(np.uint8), axis=1, count=width, bitorder="little")

    def uniform(self, indices: ArrayLike | Sequence[int], width: int) -> NDArray[np.float64]:
        """Return ``(N, width)`` multiples of 2^-53 in [0, 1), all equally likely."""
        seeds = self._row_seeds(indices)
        values = np.empty((len(seeds), width), np.float64)
        for rows in row_blocks(len(seeds), width):
            words = splitmix64(seeds[rows], width)
            words >>= np.uint64(11)
            np.multiply(words, 2.0**-53, out=values[rows])
        return values

    def integers(self, indices: ArrayLike | Sequence[int], width: int, high: int) -> NDArray[np.int64]:
        """Return ``(N, width)`` integers in ``[0, high)`` for ``1 <= high <= 2^53``: floor(uniform * high).

        The 2^53 uniforms do not divide evenly among ``high`` values: a probability differs from ``1 / high`` by less
        than 2^-52, relatively by less than ``high / 2^52``. The product, rounded, never reaches ``high``.
        """
        if not 1 <= high <= 2**53:
            raise ValueError(f"high must be from 1 to 2^53, not {high}")
        values = self.uniform(indices, width)
        values *= high
        return values.astype(np.int64)  # truncation is the floor, as nothing is negative

    def normal(self, indices: ArrayLike | Sequence[int], width: int) -> NDArray[np.float64]:
        """Return ``(N, width)`` standard normal values, a pair of columns from a pair of uniforms (Box & Muller 1958).

        ``sqrt(-2 ln(1 - u)) * (cos 2 pi v, sin 2 pi v)``: exact up to rounding and the 53 bits of ``u``, which limit
        the tails to 8.57. ``log``, ``cos`` and ``sin`` may differ in the last bit between processors.
        """
        pairs = -(-width // 2)
        values = np.empty((len(np.asarray(indices)), pairs, 2), np.float64)
        uniforms = self.uniform(indices, 2 * pairs).reshape(values.shape)
        for rows in row_blocks(len(values), 2 * pairs):
            # Contiguous operands: numpy may round differently in strided loops, but values must not depend on the
            # shape of the draw. 1 - u is exact, and never 0.
            radius = np.sqrt(-2.0 * np.log(1.0 - uniforms[rows, :, 0]))
            angle = 2.0 * np.pi * uniforms[rows, :, 1]
            values[rows, :, 0] = radius * np.cos(angle)
            values[rows, :, 1] = radius * np.sin(angle)
        return np.ascontiguousarray(values.reshape(len(values), 2 * pairs)[:, :width])

    def _row_seeds(self, indices: ArrayLike | Sequence[int]) -> NDArray[np.uint64]:
        """Return the ``(N,)`` SplitMix64 seeds of the rows: ``mix(k0 + GOLDEN * (i + 1)) ^ k1``."""
        seeds = as_counters(indices)
        seeds += np.uint64(1)
        seeds *= GOLDEN
        seeds += self._words[0]
        mix_in_place(seeds)
        seeds ^= self._words[1]
        return seeds


def splitmix64(seeds: NDArray[np.uint64], width: int) -> NDArray[np.uint64]:
    """Return ``(N, width)``: the first ``width`` outputs ``mix(seed + GOLDEN * (j + 1))`` of each of ``(N,)`` seeds."""
    steps = np.arange(1, width + 1, dtype=np.uint64)
    steps *= GOLDEN
    return mix_in_place(seeds[:, None] + steps)


def mix_in_place(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit words by SplitMix64's finaliser (variant 13 of Stafford 2011), a bijection; return them."""
    scratch = np.empty_like(words)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words ^= np.right_shift(words, np.uint64(shift), out=scratch)
        words *= np.uint64(factor)
    words ^= np.right_shift(words, np.uint64(31), out=scratch)
    return words


def as_counters(indices: ArrayLike | Sequence[int]) -> NDArray[np.uint64]:
    """Return a new ``(N,)`` array of counters; ValueError unless ``indices`` is a vector of non-negative integers."""
    counters = np.asarray(indices)
    if counters.ndim != 1:
        raise ValueError(f"indices must be a vector, not of shape {counters.shape}")
    if counters.size and (counters.dtype.kind not in "iu" or counters.min() < 0):
        raise ValueError("indices must be integers, none negative")
    return counters.astype(np.uint64)


def row_blocks(rows: int, width: int, words: int = BLOCK_WORDS) -> Iterator[slice]:
    """Cut ``rows`` rows of ``width`` words into slices of about ``words`` words each, at least one row."""
    size = max(1, words // max(1, width))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
