"""How a run was configured: its command line, and the choices of its config."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

PARTS = ("data", "model", "backbone", "optimizer", "scheduler", "trainer")
LONGEST = 120  # characters of a value
# Default values of the trainer, which pages leave out.
USUAL = {
    "accelerator": "auto",
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
    "max_steps": -1,
    "accumulate_grad_batches": 1,
    "limit_train_batches": 1.0,
    "limit_val_batches": 1.0,
    "limit_test_batches": 1.0,
    "val_check_interval": 1.0,
    "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": 0,
}


@dataclass(frozen=True)
class Setting:
    """One value of the config; ``changed`` if the command line set it."""

    text: str
    changed: bool


@dataclass(frozen=True)
class Choice:
    """One section of the config: its class (``changed`` if the command line set it) and its values."""

    part: str
    name: str
    changed: bool
    settings: tuple[Setting, ...]


def choices(config: Mapping[str, Any], overrides: Sequence[str]) -> list[Choice]:
    """Return the choices of a config by section; values that are null, false or empty (but not 0) are left out."""
    off = (None, "", [])
    changed = {word.partition("=")[0].lstrip("+") for word in overrides}
    found = []
    for part in PARTS:
        section = config.get(part)
        if not section:
            continue
        if not isinstance(section, Mapping):
            found.append(Choice(part, shown(section), part in changed, ()))
            continue
        name = str(section.get("_target_", "")).rpartition(".")[2]
        settings = (
            Setting(f"{key}={shown(value)}", f"{part}.{key}" in changed)
            for key, value in flat(section)
            if f"{part}.{key}" in changed
            or (value is not False and value not in off and not (part == "trainer" and USUAL.get(key) == value))
        )
        found.append(Choice(part, name, part in changed, tuple(settings)))
    return found


def flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and values of a section, without Hydra's keys and the seed."""
    for key, value in section.items():
        if str(key).startswith("_") or f"{prefix}{key}" == "seed":
            continue
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def shown(value: Any) -> str:
    """Return a value as written on the command line, truncated if long."""
    if isinstance(value, list):
        text = f"[{','.join(map(shown, value))}]"
    else:
        text = json.dumps(value) if value is None or isinstance(value, bool) else str(value)
        text = text.replace("\n", "\\n").replace("\t", "\\t")
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def is_number(value: Any) -> TypeGuard[int | float]:
    """Return whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def command_line(manifest: Mapping[str, Any]) -> str:
    """Return the shell command that started a run; empty if it was started from Python."""
    first, *rest = [str(word) for word in manifest.get("command") or ("",)]
    words = [*first.split(), *rest]  # sys.argv[0] is "cellstate COMMAND"
    return shlex.join(words) if words[:1] == ["cellstate"] else ""
