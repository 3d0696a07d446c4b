"""Validation of the content of a checkpoint: plain values in finite dictionaries and lists."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PLAIN = (str, int, float, bool, type(None))
MAPPINGS = (dict, OrderedDict, Counter)
SEQUENCES = (list, tuple, set)
DEEPEST = 64  # levels
MOST = 2_000_000  # values; shared ones are counted each time
LARGEST_INT = 2**64  # converting larger ones to text may take minutes


class RefusedError(Exception):
    """The reason why a file is rejected, to follow its name."""


def nothing(_: Any) -> bool:
    """Return False: no other value is allowed."""
    return False


def check_values(
    value: Any,
    is_leaf: Callable[[Any], bool] = nothing,
    *,
    place: str = "",
    most: int = MOST,
    longest: int | None = None,
) -> None:
    """Reject values that are not plain, not finite, or too large.

    Args:
        value: the value to check.
        is_leaf: returns whether another type is allowed, such as tensors.
        place: name of ``value`` in messages.
        most: maximum number of values.
        longest: maximum characters of a string; None: unlimited.

    Raises:
        RefusedError: with the name of the value.
    """
    waiting = [(value, place, 0)]
    for _ in range(most):
        if not waiting:
            return
        part, where, depth = waiting.pop()
        if type(part) not in MAPPINGS and type(part) not in SEQUENCES:
            _check_single(part, where, is_leaf, longest)
        elif depth == DEEPEST:
            raise RefusedError(f"{_short(where)} has more than {DEEPEST} levels")
        else:
            waiting.extend((inner, name, depth + 1) for inner, name in _parts(part, where, longest))
    if waiting:
        raise RefusedError(f"{_short(place)} has more than {most:,} values")


def _parts(value: Any, place: str, longest: int | None) -> Iterator[tuple[Any, str]]:
    if not isinstance(value, Mapping):
        for number, part in enumerate(value):
            yield part, f"{place}[{number}]"
        return
    for key, part in value.items():
        if type(key) not in PLAIN:
            raise RefusedError(f"{_short(place)} has a key that is a {type(key).__qualname__}")
        _check_single(key, place, nothing, longest)
        yield part, f"{place}.{str(key)[:40]}" if place else str(key)[:40]


def _check_single(value: Any, place: str, is_leaf: Callable[[Any], bool], longest: int | None) -> None:
    kind = type(value)
    if kind is int and abs(value) > LARGEST_INT:
        raise RefusedError(f"{_short(place)} is a number of {value.bit_length():,} bits")
    if kind is str and longest is not None and len(value) > longest:
        raise RefusedError(f"{_short(place)} is a string of more than {longest:,} characters")
    if kind not in PLAIN and not is_leaf(value):
        raise RefusedError(
            f"{_short(place)} is a {kind.__module__}.{kind.__qualname__}, not a plain value or dense tensor"
        )


def _short(place: str) -> str:
    return place[:100] or "it"
