"""Sweep folders for tests: ``sweep.json`` in the form that a sweep leaves it, of real runs or of made-up scores."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STUDENT = {1: 12.706204736, 2: 4.302652730, 3: 3.182446305, 4: 2.776445105}  # t(0.975) of so many degrees of freedom


def job(overrides: Mapping[str, Any], *, seed: int | None = None, **facts: Any) -> dict[str, Any]:
    """Return the row of a job that is complete, but for the ``facts`` that say otherwise."""
    repeat = {} if seed is None else {"seed": seed}
    named = {**overrides, **repeat}
    return {
        "folder": facts.pop("folder", None) or f"job-{abs(hash(json.dumps(named, sort_keys=True))):x}",
        "key": json.dumps(named, sort_keys=True),
        "group": json.dumps(dict(overrides), sort_keys=True),
        "words": [f"{key}={value}" for key, value in named.items()],
        "overrides": named,
        "repeat": repeat,
        "status": "completed",
        "reason": None,
        "failure": None,
        "changed": None,
        "resumed": 0,
        "val": {},
        "test": {},
        "best": None,
        "parameters": 1000,
        "epochs": 1,
        "steps": 1,
        "seconds": {"fit": 1.0, "test": 0.1, "total": 1.5},
        **facts,
    }


def unfinished(overrides: Mapping[str, Any], status: str, reason: str | None = None, **facts: Any) -> dict[str, Any]:
    """Return the row of a job that is not complete."""
    nothing = {"best": None, "parameters": None, "epochs": None, "steps": None, "seconds": None}
    return job(overrides, status=status, reason=reason, **{**nothing, **facts})


def summary(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Return mean, deviation, and the ends of Student's 95 % interval."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean, n = statistics.fmean(known), len(known)
    if n < 2:
        return {"mean": mean, "std": None, "low": None, "high": None, "n": n}
    half = STUDENT[n - 1] * statistics.stdev(known) / math.sqrt(n)
    return {"mean": mean, "std": statistics.stdev(known), "low": mean - half, "high": mean + half, "n": n}


def write_sweep(folder: Path, rows: Sequence[Mapping[str, Any]], commands: Sequence[Sequence[str]] = ()) -> Path:
    """Write the ``sweep.json`` of these jobs."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    repeats = [row["repeat"] for row in rows if row["repeat"]]
    content = {
        "name": folder.name,
        "created": "2026-01-01T00:00:00+00:00",
        "updated": "2026-01-01T01:00:00+00:00",
        "commands": [list(command) for command in commands],
        "jobs": list(rows),
        "repeats": sorted({key for repeat in repeats for key in repeat}),
        "groups": [group(key, members, repeats) for key, members in groups.items()],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(content))
    return folder


def group(key: str, members: Sequence[Mapping[str, Any]], repeats: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is said of all repetitions of one configuration."""
    done = [row for row in members if row["status"] == "completed"]
    there = [row["repeat"] for row in done]
    distinct = [repeat for place, repeat in enumerate(repeats) if repeat not in repeats[:place]]
    return {
        "group": key,
        "overrides": {name: value for name, value in members[0]["overrides"].items() if name != "seed"},
        "jobs": [row["folder"] for row in members],
        "n": len(done),
        "missing": [repeat for repeat in distinct if members[0]["repeat"] and repeat not in there],
        "parameters": done[0]["parameters"] if done else None,
        "seconds": summary([row["seconds"]["fit"] for row in done]),
        **{
            split: {
                metric: summary([row[split].get(metric) for row in done])
                for metric in dict.fromkeys(name for row in done for name in row[split])
            }
            for split in ("val", "test")
        },
    }
