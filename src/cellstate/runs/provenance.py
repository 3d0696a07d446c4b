"""Provenance of a result (versions, repository, machine), and its differences from the current process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from cellstate.runs.folder import git_state, machine, versions

DECISIVE = ("torch", "cellstate", "lightning", "numpy", "polars", "python")  # packages, the most likely cause first
MACHINE = {
    "device": "different device",
    "cuda": "different GPU",
    "processor": "different processor",
    "capability": "other vector units",
    "threads": "different number of threads",
    "processes": "different number of processes",
}


def provenance() -> dict[str, Any]:
    """Return versions, git state and machine, as plain values."""
    return {"versions": versions(), "git": git_state(), "machine": machine()}


def computing(trainer: Any) -> dict[str, Any]:
    """Return device type, threads and processes of a trainer."""
    return {
        "device": trainer.strategy.root_device.type,
        "threads": torch.get_num_threads(),
        "processes": trainer.world_size,
    }


def differences(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Yield possible causes of different rounding, the most likely first, with recorded and current value.

    Args:
        recorded: record of a checkpoint, with ``machine`` and ``versions``; missing entries are not compared.
        here: the same of this process.
    """
    for part, names in (("machine", MACHINE), ("versions", {name: f"different {name}" for name in DECISIVE})):
        then, now = recorded.get(part), here[part]
        if not isinstance(then, Mapping):
            continue
        for name, words in names.items():
            if name in then and name in now and not is_same(then[name], now[name]):
                yield f"{words} ({printable(then[name])} recorded, {printable(now[name])} now)"


def is_same(then: Any, now: Any) -> bool:
    """Return whether a value is as recorded; a version recorded without its build is compared without it."""
    return then == now or (isinstance(now, str) and "+" in now and then == now.partition("+")[0])


def printable(value: Any) -> str:
    """Return a recorded value as one short line of printable characters."""
    text = "".join(character if character.isprintable() else "?" for character in str(value))
    return text if len(text) <= 80 else f"{text[:79]}…"
