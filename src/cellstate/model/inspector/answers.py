"""The answers of a model after each step of a sequence, as if the sequence ended there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LONGEST = 20  # characters of a name


@dataclass(frozen=True)
class Answers:
    """The prediction after each step.

    ``values (T, K)`` are probabilities of the K ``names``, or unscaled values of them.
    """

    names: tuple[str, ...]
    values: np.ndarray
    probabilities: bool

    def spoken(self, step: int) -> str:
        """Return the answer at a step as text."""
        row = self.values[step]
        if self.probabilities:
            best = int(row.argmax())
            return f"{shortened(readable(self.names[best]))} ({row[best]:.3f})"
        shown = [f"{value:.4g}" for value in row[:3]]
        return ", ".join(shown) + (", …" if len(row) > 3 else "")


def shortened(text: str) -> str:
    """Return a name as one line, truncated to fit a table."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def readable(symbol: str) -> str:
    """Return a visible form of a symbol: whitespace and other unprintable characters by sign or code point."""
    named = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}
    if symbol in named:
        return named[symbol]
    return symbol if symbol.isprintable() else "".join(f"U+{ord(sign):04X}" for sign in symbol)
