"""The automaton of a binary pattern: testing, counting and sampling strings that contain or avoid it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from cellstate.data.synthetic.randomness import row_blocks
from cellstate.errors import RequestError

BLOCK = 2**22  # uniforms at a time


class PatternAutomaton:
    """The automaton that recognises ``pattern`` in a string of bits (Knuth, Morris & Pratt 1977).

    State ``s < m``: the longest suffix read so far that is a prefix of the pattern has ``s`` symbols; the absorbing
    state ``m``: the pattern has occurred. ``transitions`` is ``(m + 1, 2)``: the next state by state and bit.

    Every pattern can be avoided, by repeating the bit that it does not start with.
    RequestError if the pattern is empty or contains anything but 0 and 1.
    """

    def __init__(self, pattern: Sequence[int]) -> None:
        self.pattern = as_pattern(pattern)
        size = len(self.pattern)
        self.transitions = np.zeros((size + 1, 2), np.intp)
        restart = 0  # the state after pattern[1:state], the fallback on a mismatch
        for state, symbol in enumerate(self.pattern):
            self.transitions[state] = self.transitions[restart]
            self.transitions[state, symbol] = state + 1
            if state > 0:
                restart = int(self.transitions[restart, symbol])
        self.transitions[size] = size
        self._chances: dict[int, NDArray[np.float64]] = {}

    def count_avoiding(self, length: int) -> int:
        """Return how many of the ``2^length`` strings avoid the pattern, exactly."""
        *_, counts = self._completions(length)
        return counts[0]

    def share_containing(self, length: int) -> Fraction:
        """Return the exact probability that ``length`` fair coins contain the pattern: ``1 - avoiding / 2^length``."""
        return 1 - Fraction(self.count_avoiding(length), 2**length)

    def contains(self, bits: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return ``(N,)``: which rows of ``(N, T)`` bits contain the pattern."""
        places = bits.shape[1] - len(self.pattern) + 1
        if places < 1:
            return np.zeros(len(bits), np.bool_)
        # A sliding comparison instead of the automaton: no loop over time, and an independent check of its samples.
        matches = np.ones((len(bits), places), np.bool_)
        for offset, symbol in enumerate(self.pattern):
            matches &= bits[:, offset : offset + places] == symbol
        return np.asarray(matches.any(axis=1))

    def sample_avoiding(self, uniforms: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Map ``(N, T)`` uniforms in [0, 1) to ``(N, T)`` bits, rows uniform over the strings that avoid the pattern.

        Without rejection: bit by bit, with ``c_r(s)`` the number of strings of ``r`` more bits that avoid the pattern
        from state ``s``,

            P(next bit is 1 | s, r bits to come) = c_{r-1}(transitions[s, 1]) / c_r(s),

        so that each string has probability ``1 / c_T(0)``, up to the 53 bits of the uniforms.
        """
        length = uniforms.shape[1]
        chances = self._chances_of_one(length)
        bits = np.empty(uniforms.shape, np.uint8)
        # Many rows, as the loop over time costs by the step, but at most 32 MiB of uniforms.
        for rows in row_blocks(len(uniforms), max(length, 2048), BLOCK):
            by_step = np.ascontiguousarray(uniforms[rows].T)  # (T, n): each step reads and writes consecutive memory
            bits_by_step = np.empty(by_step.shape, np.bool_)
            state = np.zeros(by_step.shape[1], np.intp)
            for step, bit in enumerate(bits_by_step):
                np.less(by_step[step], chances[step].take(state), out=bit)
                state += state
                state += bit
                state = self.transitions.take(state)  # of the flattened table: entry 2 * state + bit
            bits[rows] = bits_by_step.T
        return bits

    def _completions(self, length: int) -> Iterator[list[int]]:
        """Yield, for 0, 1, … ``length`` remaining bits, the number of avoiding strings by state: ``(m + 1,)``."""
        if length < 0:
            raise RequestError(f"length={length}: must be 0 or more")
        moves = self.transitions.tolist()
        counts = [1] * len(self.pattern) + [0]
        yield counts
        for _ in range(length):
            counts = [counts[after_zero] + counts[after_one] for after_zero, after_one in moves]
            yield counts

    def _chances_of_one(self, length: int) -> NDArray[np.float64]:
        """Return ``(T, m + 1)``: the probability that a step's bit is 1, by state (0 if no completion exists)."""
        if length not in self._chances:
            # Ratios of exact integers, each rounded once: rescaled floats would give 0 / 0 in a state with few
            # completions (from "11" a single one avoids 110, but about 1.6^r from the other states).
            chances = np.zeros((length, len(self.transitions)))
            after_one = self.transitions[:, 1].tolist()
            fewer: list[int] = []
            for remaining, counts in enumerate(self._completions(length)):
                for state, count in enumerate(counts if remaining else ()):
                    chances[length - remaining, state] = fewer[after_one[state]] / count if count else 0.0
                fewer = counts
            self._chances[length] = chances
        return self._chances[length]


def as_pattern(pattern: Sequence[int]) -> tuple[int, ...]:
    """Return the pattern as a tuple of 0 and 1; RequestError if it is anything else, or empty."""
    try:
        symbols = tuple(pattern)
    except TypeError:
        symbols = ()
    if not symbols or any(symbol not in (0, 1) for symbol in symbols):
        shown = "[" + ",".join(map(str, symbols)) + "]"
        raise RequestError(f"data.pattern={shown}: a pattern is a list of one or more 0 and 1, such as [1,1,0]")
    return tuple(int(symbol) for symbol in symbols)
