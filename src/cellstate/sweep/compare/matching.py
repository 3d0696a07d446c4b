"""Networks of one size: the number of units at which a network has as many parameters as another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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
            raise ValueError(f"{MOST_UNITS:,} of them do not have {wanted:,} parameters")
    if parameters(low) == parameters(high):
        raise ValueError(f"{low} and {high} of them both have {parameters(high):,} parameters")
    while high - low > 1:  # parameters(low) < wanted <= parameters(high), or low is 1
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(middle) < wanted else (low, middle)
    return min((low, high), key=lambda units: abs(parameters(units) - wanted))


def match_sizes(parameters: Sequence[Callable[[int], int]], wanted: int, tolerance: float) -> list[int]:
    """Return a number of units for each network, so that their parameters differ by no more than ``tolerance``.

    Small networks grow in steps of several per cent, so that no number of units may come as near to ``wanted``. Then
    the nearest number of units of the first network is taken to which all others find their match; where there is none
    within a quarter of it, each comes as near to ``wanted`` as it can.

    Args:
        parameters: of each network by its number of units.
        wanted: how many there should be.
        tolerance: of the parameters, as a share of those of the first network.

    Raises:
        ValueError: some network's parameters do not grow with its units.
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
