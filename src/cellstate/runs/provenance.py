"""Where a result comes from: versions, repository, machine; and what of it differs from where one is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from cellstate.runs.folder import git_state, machine, versions

DECISIVE = ("torch", "cellstate", "lightning", "numpy", "polars", "python")  # packages, the likeliest cause first
MACHINE = {
    "device": "another device",
    "cuda": "another GPU",
    "processor": "another processor",
    "capability": "other vector units",
    "threads": "another number of threads",
    "processes": "another number of processes",
}


def provenance() -> dict[str, Any]:
    """Return versions, git state and machine, as plain values."""
    return {"versions": versions(), "git": git_state(), "machine": machine()}


def computing(trainer: Any) -> dict[str, Any]:
    """Return what a trainer computes on: the kind of device, threads, processes."""
    return {
        "device": trainer.strategy.root_device.type,
        "threads": torch.get_num_threads(),
        "processes": trainer.world_size,
    }


def differences(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Yield what may make two computations round differently, the likeliest cause first, what was and what is.

    Args:
        recorded: what a checkpoint holds, with ``machine`` and ``versions``; what it lacks is not compared.
        here: the same of this process.
    """
    for part, names in (("machine", MACHINE), ("versions", {name: f"another {name}" for name in DECISIVE})):
        then, now = recorded.get(part), here[part]
        if not isinstance(then, Mapping):
            continue
        for name, words in names.items():
            if name in then and name in now and not is_same(then[name], now[name]):
                yield f"{words} ({printable(then[name])} then, {printable(now[name])} now)"


def is_same(then: Any, now: Any) -> bool:
    """Say whether a fact is as recorded; a version that was recorded without its build is compared without it."""
    return then == now or (isinstance(now, str) and "+" in now and then == now.partition("+")[0])


def printable(value: Any) -> str:
    """Return a value of a record as one short line that a terminal can show."""
    text = "".join(character if character.isprintable() else "?" for character in str(value))
    return text if len(text) <= 80 else f"{text[:79]}…"
