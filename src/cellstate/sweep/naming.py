"""Names of sweeps and jobs, which are names of folders, and what jobs are called on the screen."""

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
    """Return the name of a sweep: the given one, or one that follows from the command.

    The latter holds the experiment, the keys that are swept, and the values that are not. Values that are swept and
    seeds are not in it, so that a command with more of them finds the same sweep.

    Args:
        given: the given one, or None.
        overrides: of the command.
        experiment: what the name begins with where the overrides name no experiment.
        called: what to call an experiment of a certain name.

    Raises:
        RequestError: the given one cannot be the name of a folder.
    """
    if given is not None:
        if not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", str(given), re.ASCII):
            raise RequestError(f"sweep.name={given}: should be the name of a folder, of letters, digits and . _ + -")
        return str(given)
    own = [word for word in overrides if _is_told(word) and word.key_or_group not in REPEATS]
    swept = sorted(word.get_key_element().strip("+~") for word in own if word.is_sweep_override())
    fixed = sorted(_plain(word) for word in own if not word.is_sweep_override() and word.key_or_group != "experiment")
    for word in own:
        if word.key_or_group == "experiment" and not word.is_sweep_override():
            experiment = called(str(word.value()))
    parts = [*([] if "experiment" in swept else [experiment]), *swept, *fixed]
    name = "_".join(map(slug, parts))
    if len(name) > LONGEST:
        name = "_".join(map(slug, parts[: len(parts) - len(fixed)]))[:LONGEST] + f"_{_digest(parts)}"
    return name


def job_name(overrides: Mapping[str, Any], named_by: Iterable[str], key: str) -> str:
    """Return the name of a job's folder: readable values, then its hash.

    Args:
        overrides: the job's overrides.
        named_by: the keys whose values it is named by.
        key: its hash.
    """
    parts = [_short(name, overrides[name]) for name in _repeats_last(named_by) if name in overrides]
    return "_".join([*(["_".join(parts)[:LONGEST]] if parts else []), key])


def labels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what to call each of the rows: the overrides that not all of them share."""
    varying = differing([row["overrides"] for row in rows])
    return [label({key: value for key, value in row["overrides"].items() if key in varying}) for row in rows]


def label(overrides: Mapping[str, Any]) -> str:
    """Return overrides as one writes them."""
    return " ".join(
        key if key.startswith("~") else f"{key}={shown(overrides[key])}" for key in _repeats_last(overrides)
    )


def differing(overrides: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys that not all share, those that repeat an experiment last; of one, all but the experiment."""
    keys = _repeats_last(dict.fromkeys(key for one in overrides for key in one))
    if len(overrides) == 1:
        return [key for key in keys if key != "experiment"]
    return [key for key in keys if any(key not in one or one[key] != overrides[0].get(key) for one in overrides)]


def slug(text: str) -> str:
    """Return a text with all that a shell, a path or Hydra would mistake replaced."""
    return re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII).strip("-.") or "x"


def _repeats_last(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=REPEATS.__contains__)


def _is_told(word: Override) -> bool:
    key = word.key_or_group
    return not word.is_hydra_override() and key.partition(".")[0] not in ASIDE


def _plain(word: Override) -> str:
    return str(word.input_line).strip("+")


def _short(key: str, value: Any) -> str:
    """Return ``gru`` for backbone=gru, ``lr-0.01`` for optimizer.lr=0.01, ``book.txt`` for data.path=texts/book.txt."""
    if isinstance(value, str):
        return slug(value.rstrip("/").rpartition("/")[2])
    drawn = isinstance(value, float) and len(repr(value)) > 7  # no more digits than one reads
    return slug(f"{key.rpartition('.')[2]}-{slug(f'{value:.4g}' if drawn else shown(value))}")


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:6]
