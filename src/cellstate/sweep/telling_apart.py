"""Jobs that the same words led to and that train something else: each is named by what differs in their configs.

``experiment=best`` and ``data.path=load.csv`` mean what the files mean that they name, and those may change.
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


def tell_apart(rows: Sequence[EditableRow], config_of: Callable[[EditableRow], Config | None]) -> None:
    """Add to the overrides of jobs what tells apart those which have the same and train something else.

    Args:
        rows: all jobs of a sweep, as ``sweep.json`` has them.
        config_of: gives what of a job's config decides on the training, or None where that is not known.
    """
    alike: dict[str, list[EditableRow]] = {}
    for row in rows:
        alike.setdefault(spoken(row), []).append(row)
    for members in alike.values():
        groups = {row["group"]: row for row in reversed(members)}
        if len(groups) == 1:
            continue
        differing = told({key: dict(leaves(config_of(row) or {})) for key, row in groups.items()}, groups)
        for row in members:
            own = differing[row["group"]]
            row["overrides"] = {**without(row["overrides"], row.get("told", ())), **own}
            row["told"] = list(own)


def told(configs: Mapping[str, Mapping[str, Any]], groups: Mapping[str, EditableRow]) -> dict[str, dict[str, Any]]:
    """Return group -> the keys, with their values, by which groups are told apart: no more than that takes.

    Args:
        configs: group -> leaves of its config; of none where it is not known.
        groups: group -> one of its jobs.
    """
    known = [config for config in configs.values() if config]
    keys = [key for key in dict.fromkeys(key for config in known for key in config) if not repeated(key, groups)]
    keys = [key for key in keys if any(config.get(key, ABSENT) != known[0].get(key, ABSENT) for config in known)]
    chosen: list[str] = []
    for key in sorted(keys, key=lambda key: not key.endswith("._target_")):  # of what kind they are comes first
        if parts(configs, [*chosen, key]) > parts(configs, chosen):
            chosen.append(key)
    return {
        group: dict(named(key, config[key]) for key in chosen if key in config) for group, config in configs.items()
    }


def parts(configs: Mapping[str, Mapping[str, Any]], keys: Sequence[str]) -> int:
    """Return how many of the groups are told apart by keys."""
    return len({json.dumps([config.get(key, "\0") for key in keys], default=str) for config in configs.values()})


def repeated(key: str, groups: Mapping[str, EditableRow]) -> bool:
    """Say whether a key is one that repeats an experiment, or follows it."""
    return key in REPEATS or key in {name for row in groups.values() for name in row["repeat"]} or key == "data.seed"


def named(key: str, value: Any) -> tuple[str, Any]:
    """Return ``data=SeriesData`` for the class of a section, and any other key as it is."""
    if key.endswith("._target_"):
        return key.removesuffix("._target_"), str(value).rpartition(".")[2]
    return key, str(value) if isinstance(value, float) and not math.isfinite(value) else value


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of all that nested dictionaries hold."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def spoken(row: EditableRow) -> str:
    """Return the overrides of a job as the command said them, but for what repeats it and what trains nothing."""
    own = without(row["overrides"], (*row.get("told", ()), *row["repeat"]))
    heard = {key: value for key, value in own.items() if key.partition(".")[0] not in ASIDE}
    return json.dumps(heard, sort_keys=True, default=str)


def without(overrides: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return overrides but for those keys."""
    return {key: value for key, value in overrides.items() if key not in keys}
