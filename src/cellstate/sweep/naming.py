"""Names of sweeps and jobs, which are also folder names, and labels of jobs on the screen."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from cellstate.config.check import shown
from cellstate.errors import RequestError
from cellstate.sweep.identity import ASIDE, REPEATS

LONGEST = 60  # characters of a name before its hash


def sweep_name(given: Any, overrides: Sequence[Override], experiment: str, called: Callable[[str], str] = str) -> str:
    """Return the given name of a sweep, or one derived from the command.

    A derived name consists of the experiment, the swept keys, and the fixed overrides. Swept values and seeds are
    excluded, so that a command with more of them finds the same sweep.

    Args:
        given: the given name, or None.
        overrides: of the command.
        experiment: first part of the name if the overrides do not set an experiment.
        called: from the name of an experiment to its part of the name.

    Raises:
        RequestError: the given name is not a valid folder name.
    """
    if given is not None:
        if not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", str(given), re.ASCII):
            raise RequestError(f"sweep.name={given}: should be a folder name of letters, digits and . _ + -")
        return str(given)
    own = [word for word in overrides if _is_part_of_name(word) and word.key_or_group not in REPEATS]
    swept = sorted(word.get_key_element().strip("+~") for word in own if word.is_sweep_override())
    fixed = sorted(_text(word) for word in own if not word.is_sweep_override() and word.key_or_group != "experiment")
    for word in own:
        if word.key_or_group == "experiment" and not word.is_sweep_override():
            experiment = called(str(word.value()))
    parts = [*([] if "experiment" in swept else [experiment]), *swept, *fixed]
    name = "_".join(map(slug, parts))
    if len(name) > LONGEST:
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:6]
        name = "_".join(map(slug, parts[: len(parts) - len(fixed)]))[:LONGEST] + f"_{digest}"
    return name


def job_name(overrides: Mapping[str, Any], named_by: Iterable[str], key: str) -> str:
    """Return the folder name of a job: readable values, then its hash."""
    parts = [_short(name, overrides[name]) for name in _repeats_last(named_by) if name in overrides]
    return "_".join([*(["_".join(parts)[:LONGEST]] if parts else []), key])


def labels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a label for each row: the overrides that not all of them share."""
    varying = differing([row["overrides"] for row in rows])
    return [label({key: value for key, value in row["overrides"].items() if key in varying}) for row in rows]


def label(overrides: Mapping[str, Any]) -> str:
    """Return overrides as on a command line."""
    keys = _repeats_last(overrides)
    return " ".join(key if key.startswith("~") else f"{key}={shown(overrides[key])}" for key in keys)


def differing(overrides: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys whose values differ, seeds and folds last; for a single one, all keys except the experiment."""
    keys = _repeats_last(dict.fromkeys(key for one in overrides for key in one))
    if len(overrides) == 1:
        return [key for key in keys if key != "experiment"]
    return [key for key in keys if any(key not in one or one[key] != overrides[0].get(key) for one in overrides)]


def slug(text: str) -> str:
    """Return a text with all characters replaced that are special in a shell, a path or Hydra."""
    return re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII).strip("-.") or "x"


def _repeats_last(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=REPEATS.__contains__)


def _is_part_of_name(word: Override) -> bool:
    key = word.key_or_group
    return not word.is_hydra_override() and key.partition(".")[0] not in ASIDE


def _text(word: Override) -> str:
    return str(word.input_line).strip("+")


def _short(key: str, value: Any) -> str:
    """Return ``gru`` for backbone=gru, ``lr-0.01`` for optimizer.lr=0.01, ``book.txt`` for data.path=texts/book.txt."""
    if isinstance(value, str):
        return slug(value.rstrip("/").rpartition("/")[2])
    drawn = isinstance(value, float) and len(repr(value)) > 7  # shorten sampled values
    return slug(f"{key.rpartition('.')[2]}-{slug(f'{value:.4g}' if drawn else shown(value))}")
