"""What a model would answer after each step of a sequence, if the sequence ended there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LONGEST = 20  # characters of a name


@dataclass(frozen=True)
class Answers:
    """The prediction so far at each step.

    ``values (T, K)`` are probabilities of the K ``names``, or numbers of them in the data's own units.
    """

    names: tuple[str, ...]
    values: np.ndarray
    probabilities: bool

    def spoken(self, step: int) -> str:
        """Return the answer at a step, as one says it."""
        row = self.values[step]
        if self.probabilities:
            best = int(row.argmax())
            return f"{shortened(readable(self.names[best]))} ({row[best]:.3f})"
        shown = [f"{value:.4g}" for value in row[:3]]
        return ", ".join(shown) + (", …" if len(row) > 3 else "")


def shortened(text: str) -> str:
    """Return a name that may come from a file in one line, cut off where it is too long for a table."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def readable(symbol: str) -> str:
    """Return a symbol such that it is seen: a space, a line break and other signs that print nothing by their names."""
    named = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}
    if symbol in named:
        return named[symbol]
    return symbol if symbol.isprintable() else "".join(f"U+{ord(sign):04X}" for sign in symbol)
