"""The axes of a comparison: variants, conditions and repetitions."""

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
    """The overrides of a comparison by role.

    Attributes:
        fixed: those with one value.
        variants: combinations of the compared keys, such as ``("backbone=rnn",)``.
        conditions: combinations that all variants are trained on: keys of the data, and experiments.
        repeats: combinations of seeds and folds.
        keys: all keys with several values.
    """

    fixed: Words
    variants: list[Words]
    conditions: list[Words]
    repeats: list[Words]
    keys: Words


def axes_of(overrides: Sequence[Override], seeds: int) -> Axes:
    """Return the axes of a command line; without values of seeds or folds, with seeds 0 to ``seeds - 1``."""
    swept = {kind: [word for word in overrides if word.is_sweep_override() and kind_of(word) == kind] for kind in KINDS}
    if not swept["variant"]:
        raise RequestError(
            "nothing to compare: give a key several values, such as backbone=rnn,lstm,gru (values of data keys and "
            "experiments are conditions, not variants)"
        )
    fixed = tuple(word.input_line or "" for word in overrides if not word.is_sweep_override())
    repeats = combinations(swept["repeat"])
    if not swept["repeat"]:
        given = any(word.key_or_group == "seed" for word in overrides)
        repeats = [()] if given else [(f"seed={seed}",) for seed in range(seeds)]
    variants = combinations(swept["variant"])
    if len(variants) < 2:
        raise RequestError(f"{' '.join(variants[0])}: a single value cannot be compared; give several")
    keys = tuple(word.get_key_element().lstrip("+") for kind in KINDS for word in swept[kind])
    if not swept["repeat"] and repeats != [()]:
        keys = (*keys, "seed")
    return Axes(fixed, variants, combinations(swept["condition"]), repeats, keys)


KINDS = ("condition", "variant", "repeat")


def kind_of(word: Override) -> str:
    """Return the role of a key with several values."""
    key = word.key_or_group
    if key in REPEATS:
        return "repeat"
    return "condition" if key in ("experiment", "data") or key.startswith("data.") else "variant"


def named(words: Words, values: Mapping[str, object]) -> str:
    """Return the name of a combination: its value if it has one key, else its overrides."""
    own = {key: value for key, value in values.items() if any(word.lstrip("+").startswith(f"{key}=") for word in words)}
    if len(own) == 1 and "." not in (key := next(iter(own))):
        return str(own[key])
    return label(own)
