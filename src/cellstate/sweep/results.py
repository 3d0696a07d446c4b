"""Results of a sweep's jobs, and statistics over the repetitions of an experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellstate.metrics.statistics import summarise
from cellstate.runs.json_file import read_json

SCORES = ("val", "test")
# Fields of a row that a completed job fills from its metrics.json.
UNKNOWN = {"val": {}, "test": {}, "best": None, "parameters": None, "epochs": None, "steps": None, "seconds": None}


def new_row(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a job that has not been started."""
    return {**job, "status": "pending", "reason": None, "failure": None, "changed": None, "resumed": 0, **UNKNOWN}


def of_run(folder: Path, held: bool, failure: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a row that describe a job's run."""
    manifest = read_json(folder / "manifest.json")
    facts = {"reason": None, "resumed": len(manifest.get("resumed", [])), **UNKNOWN}
    if held:
        return {**facts, "status": "running"}
    if manifest.get("status") == "completed":
        metrics = {**UNKNOWN, **read_json(folder / "metrics.json")}
        return {**facts, "status": "completed", **{name: finite(metrics[name]) for name in UNKNOWN}}
    if failure:
        return {**facts, "status": "failed", "reason": "; ".join(failure["problems"])}
    if not manifest:
        return {**facts, "status": "pending"}
    ended = manifest.get("status")
    if ended in ("failed", "pruned"):
        return {**facts, "status": ended, "reason": manifest.get("reason")}
    return {**facts, "status": "interrupted", "reason": "killed" if ended == "running" else None}


def groups(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a group for all jobs that differ only in their repetition, with statistics of their results.

    Each has ``overrides`` (without seeds and folds), ``jobs`` (their folders), ``n`` (number of complete jobs),
    ``missing`` (repetitions of other groups that are neither complete nor running here), ``parameters``,
    ``seconds`` of training, and for each split metric -> mean, std, low, high, n.
    """
    together: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        together.setdefault(row["group"], []).append(row)
    return [_group(key, members, _expected(members, rows)) for key, members in together.items()]


def _group(key: str, members: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    done = [row for row in members if row["status"] == "completed"]
    there = [row["repeat"] for row in members if row["status"] in ("completed", "running")]
    sizes = {row["parameters"] for row in done}
    return {
        "group": key,
        "overrides": {key: value for key, value in members[0]["overrides"].items() if key not in members[0]["repeat"]},
        "jobs": [row["folder"] for row in members],
        "n": len(done),
        "missing": [repeat for repeat in expected if repeat not in there],
        "parameters": sizes.pop() if len(sizes) == 1 else None,
        "seconds": _summary([row["seconds"].get("fit") for row in done if row["seconds"]]),
        **{split: _scores([row[split] for row in done]) for split in SCORES},
    }


def _expected(members: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return all repetitions in the sweep with the same keys as those of a group."""
    kinds = [set(row["repeat"]) for row in members]
    found: list[Mapping[str, Any]] = []
    for row in rows:
        if set(row["repeat"]) in kinds and row["repeat"] not in found:
            found.append(row["repeat"])
    return found


def _scores(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for result in results for name in result)
    return {name: _summary([result.get(name) for result in results]) for name in names}


def _summary(values: Sequence[float | None]) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    return summarise(known) if known else None


def finite(value: Any) -> Any:
    """Return a value for a JSON file, with null for NaN and infinity."""
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
