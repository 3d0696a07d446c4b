"""Disambiguate jobs with equal overrides but different configs, by the keys in which the configs differ.

``experiment=best`` and ``data.path=load.csv`` refer to files, whose content may change.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from cellstate.sweep.identity import ASIDE, REPEATS

EditableRow = dict[str, Any]  # of sweep.json, before it is written
Config = Mapping[str, Any]
ABSENT = object()


def disambiguate(rows: Sequence[EditableRow], config_of: Callable[[EditableRow], Config | None]) -> None:
    """Extend the overrides of jobs with equal ones by the keys in which their configs differ.

    Args:
        rows: all jobs of ``sweep.json``.
        config_of: returns the part of a job's config that affects training, or None if unknown.
    """
    alike: dict[str, list[EditableRow]] = {}
    for row in rows:
        alike.setdefault(original_overrides(row), []).append(row)
    for members in alike.values():
        groups = {row["group"]: row for row in reversed(members)}
        if len(groups) == 1:
            continue
        differing = distinguishing({key: dict(leaves(config_of(row) or {})) for key, row in groups.items()}, groups)
        for row in members:
            own = differing[row["group"]]
            row["overrides"] = {**without(row["overrides"], row.get("told", ())), **own}
            row["told"] = list(own)


def distinguishing(
    configs: Mapping[str, Mapping[str, Any]], groups: Mapping[str, EditableRow]
) -> dict[str, dict[str, Any]]:
    """Return group -> keys and values that distinguish the groups, as few as needed."""
    known = [config for config in configs.values() if config]
    keys = [key for key in dict.fromkeys(key for config in known for key in config) if not repeated(key, groups)]
    keys = [key for key in keys if any(config.get(key, ABSENT) != known[0].get(key, ABSENT) for config in known)]
    chosen: list[str] = []
    for key in sorted(keys, key=lambda key: not key.endswith("._target_")):  # classes first
        if distinct(configs, [*chosen, key]) > distinct(configs, chosen):
            chosen.append(key)
    return {name: dict(named(key, config[key]) for key in chosen if key in config) for name, config in configs.items()}


def distinct(configs: Mapping[str, Mapping[str, Any]], keys: Sequence[str]) -> int:
    """Return the number of distinct groups by the values of some keys."""
    return len({json.dumps([config.get(key, "\0") for key in keys], default=str) for config in configs.values()})


def repeated(key: str, groups: Mapping[str, EditableRow]) -> bool:
    """Whether a key is a repetition, or follows from it."""
    return key in REPEATS or key in {name for row in groups.values() for name in row["repeat"]} or key == "data.seed"


def named(key: str, value: Any) -> tuple[str, Any]:
    """Return ``data=SeriesData`` for the class of a section, and other keys unchanged."""
    if key.endswith("._target_"):
        return key.removesuffix("._target_"), str(value).rpartition(".")[2]
    return key, str(value) if isinstance(value, float) and not math.isfinite(value) else value


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each leaf of nested dictionaries."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def original_overrides(row: EditableRow) -> str:
    """Return the overrides of a job as in its command, without repetitions and keys that do not affect training."""
    own = without(row["overrides"], (*row.get("told", ()), *row["repeat"]))
    own = {key: value for key, value in own.items() if key.partition(".")[0] not in ASIDE}
    return json.dumps(own, sort_keys=True, default=str)


def without(overrides: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return overrides without some keys."""
    return {key: value for key, value in overrides.items() if key not in keys}
