"""Match the parameter counts of networks by their numbers of units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

MOST_UNITS = 2**20


def solve_size(parameters: Callable[[int], int], wanted: int) -> int:
    """Return the number of units whose parameter count is closest to ``wanted``."""
    low, high = 1, 2
    while parameters(high) < wanted:
        low, high = high, 2 * high
        if high > MOST_UNITS:
            raise ValueError(f"{MOST_UNITS:,} units have fewer than {wanted:,} parameters")
    if parameters(low) == parameters(high):
        raise ValueError(f"{low} and {high} units both have {parameters(high):,} parameters")
    while high - low > 1:  # parameters(low) < wanted <= parameters(high), or low is 1
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(middle) < wanted else (low, middle)
    return min((low, high), key=lambda units: abs(parameters(units) - wanted))


def match_sizes(parameters: Sequence[Callable[[int], int]], wanted: int, tolerance: float) -> list[int]:
    """Return a number of units for each network, so that their parameter counts differ by at most ``tolerance``.

    Small networks grow in steps of several per cent, so that ``wanted`` may be out of reach. Then the first network
    gets the nearest number of units that all others can match; if there is none within 25 %, each network gets as
    close to ``wanted`` as possible.
    """
    first, *others = parameters
    start = solve_size(first, wanted)
    reach = range(max(1, math.ceil(0.75 * start)), math.floor(1.25 * start) + 1)
    for units in sorted(reach, key=lambda units: (abs(units - start), -units)):
        size = first(units)
        found = [units, *(solve_size(other, size) for other in others)]
        if all(abs(one(own) - size) <= tolerance * size for one, own in zip(parameters, found, strict=True)):
            return found
    return [solve_size(one, first(start)) for one in parameters]
