"""Networks of one size: the number of units at which a network has as many parameters as another."""

from __future__ import annotations

from collections.abc import Callable

MOST_UNITS = 2**20


def solve_size(parameters: Callable[[int], int], wanted: int) -> int:
    """Return the number of units whose parameters come nearest to ``wanted``.

    Args:
        parameters: of a network by its number of units, of which more units never have less.
        wanted: how many parameters there should be.

    Raises:
        ValueError: the parameters do not grow with the units.
    """
    low, high = 1, 2
    while parameters(high) < wanted:
        low, high = high, 2 * high
        if high > MOST_UNITS:
            raise ValueError(f"{MOST_UNITS:,} units do not have {wanted:,} parameters")
    while high - low > 1:  # parameters(low) < wanted <= parameters(high), or low is 1
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(middle) < wanted else (low, middle)
    return min((low, high), key=lambda units: abs(parameters(units) - wanted))
