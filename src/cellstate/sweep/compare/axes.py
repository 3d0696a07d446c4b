"""What a comparison varies: what is compared, under which conditions, and how often each is repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.types import Override

from cellstate.errors import RequestError
from cellstate.sweep.combinations import Words, combinations
from cellstate.sweep.identity import REPEATS
from cellstate.sweep.naming import label


@dataclass(frozen=True)
class Axes:
    """Overrides of a comparison, apart by what they are.

    Attributes:
        fixed: those with one value.
        variants: combinations of what is compared, such as ``("backbone=rnn",)``.
        conditions: combinations of what all variants are tried on: keys of the data, and experiments.
        repeats: combinations of seeds and folds.
        keys: all keys with several values.
    """

    fixed: Words
    variants: list[Words]
    conditions: list[Words]
    repeats: list[Words]
    keys: Words


def axes_of(overrides: Sequence[Override], seeds: int) -> Axes:
    """Return the axes of a command line; without any values of seeds or folds, there are ``seeds`` of them from 0 on.

    Raises:
        RequestError: nothing is given two values that could be compared.
    """
    swept = {kind: [word for word in overrides if word.is_sweep_override() and kind_of(word) == kind] for kind in KINDS}
    if not swept["variant"]:
        raise RequestError(
            "nothing to compare: give something several values, such as backbone=rnn,lstm,gru (keys of the data and "
            "experiments are what all variants are tried on)"
        )
    fixed = tuple(word.input_line or "" for word in overrides if not word.is_sweep_override())
    repeats = combinations(swept["repeat"])
    if not swept["repeat"]:
        given = any(word.key_or_group == "seed" for word in overrides)
        repeats = [()] if given else [(f"seed={seed}",) for seed in range(seeds)]
    variants = combinations(swept["variant"])
    if len(variants) < 2:
        raise RequestError(f"{' '.join(variants[0])}: one value alone cannot be compared; give several")
    keys = tuple(word.get_key_element().lstrip("+") for kind in KINDS for word in swept[kind])
    if not swept["repeat"] and repeats != [()]:
        keys = (*keys, "seed")
    return Axes(fixed, variants, combinations(swept["condition"]), repeats, keys)


KINDS = ("condition", "variant", "repeat")


def kind_of(word: Override) -> str:
    """Return what several values of a key mean."""
    key = word.key_or_group
    if key in REPEATS:
        return "repeat"
    return "condition" if key in ("experiment", "data") or key.startswith("data.") else "variant"


def named(words: Words, values: Mapping[str, object]) -> str:
    """Return what to call a combination: its values where it has one key, else as one writes them."""
    own = {key: value for key, value in values.items() if any(word.lstrip("+").startswith(f"{key}=") for word in words)}
    if len(own) == 1 and "." not in (key := next(iter(own))):
        return str(own[key])
    return label(own)
