"""All combinations of the values on a command line."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from hydra.core.override_parser.types import Override

from cellstate.errors import RequestError

Words = tuple[str, ...]


def combinations(overrides: Iterable[Override]) -> list[Words]:
    """Return all combinations of values, each as overrides; a single empty one without overrides.

    If a key is given twice, the last value wins, as in Hydra's own sweeper.

    Raises:
        RequestError: an interval, which cannot be enumerated.
    """
    values = {word.get_key_element(): values_of(word) for word in overrides}
    return list(itertools.product(*values.values()))


def values_of(word: Override) -> list[str]:
    """Return an override for each value of one; RequestError for an interval."""
    key = word.get_key_element()
    if not word.is_sweep_override():
        return [f"{key}={word.get_value_element_as_str()}"]
    if not word.is_discrete_sweep():
        raise RequestError(f"{word.input_line}: is not a list of values; write {key}=VALUE,VALUE, or use sweep=search")
    return [f"{key}={value}" for value in word.sweep_string_iterator()]
