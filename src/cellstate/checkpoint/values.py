"""What a checkpoint may hold: tensors, and plain values in dictionaries and lists that have an end."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cellstate.checkpoint.archive import RefusedError

PLAIN = (str, int, float, bool, type(None))
KEYS = PLAIN
MAPPINGS = (dict, OrderedDict, Counter)
SEQUENCES = (list, tuple, set)
DEEPEST = 64
# Parts that are shared count on every way to them: ten lists of ten times the list before are 10^10 values.
MOST = 10_000_000
LARGEST_INT = 2**64  # in more digits there are numbers that take minutes to write down


def check_values(value: Any, is_leaf: Callable[[Any], bool], most: int = MOST, place: str = "") -> None:
    """Refuse what is no plain value, does not end, or is larger than anything that training leaves.

    Args:
        value: what to look through; each part of it is looked at once.
        is_leaf: says what else is allowed, such as tensors.
        most: values, those that are shared counted on every way to them.
        place: what ``value`` is called in messages.

    Raises:
        RefusedError: names the place.
    """
    _Look(is_leaf, most).at(value, place, 0)


class _Look:
    """Finds how many values lie in a part, and how deep, and remembers it."""

    def __init__(self, is_leaf: Callable[[Any], bool], most: int) -> None:
        self.is_leaf, self.most = is_leaf, most
        self.known: dict[int, tuple[int, int]] = {}  # by id: values in it, levels below it
        self.kept: list[Any] = []  # what those ids belong to

    def at(self, value: Any, place: str, depth: int) -> tuple[int, int]:
        kind = type(value)
        if kind not in MAPPINGS and kind not in SEQUENCES:
            self._check_single(value, place)
            return 1, 0
        count, levels = self.known.get(id(value), (0, 0))
        if depth + levels > DEEPEST:
            raise RefusedError(f"{place[:100] or 'it'} goes on for more than {DEEPEST} levels; it is refused")
        if count:
            return count, levels
        count = 1
        for part, where in self._parts(value, place):
            inner, below = self.at(part, where, depth + 1)
            count, levels = count + inner, max(levels, below + 1)
            if count > self.most:
                raise RefusedError(f"{place[:100] or 'it'} has more than {self.most:,} values; it is refused")
        self.known[id(value)] = count, levels
        self.kept.append(value)
        return count, levels

    def _parts(self, value: Any, place: str) -> Iterator[tuple[Any, str]]:
        if not isinstance(value, Mapping):
            for number, part in enumerate(value):
                yield part, f"{place}[{number}]"
            return
        for key, part in value.items():
            if type(key) not in KEYS:
                raise RefusedError(f"{place[:100] or 'it'} has a key that is a {type(key).__qualname__}; it is refused")
            self._check_single(key, place)
            yield part, f"{place}.{str(key)[:40]}" if place else str(key)[:40]

    def _check_single(self, value: Any, place: str) -> None:
        kind = type(value)
        if kind is int and abs(value) > LARGEST_INT:
            raise RefusedError(f"{place[:100]} is a number of {value.bit_length():,} bits; it is refused")
        if kind not in PLAIN and not self.is_leaf(value):
            raise RefusedError(
                f"{place[:100] or 'it'} is a {kind.__module__}.{kind.__qualname__}, and no plain value or tensor"
            )
