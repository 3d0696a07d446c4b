"""Trials and folds of a search, for the page of its sweep. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cellstate.plotting.parts import Table
from cellstate.report.configuration import shown

STATES = ("complete", "pruned", "failed", "running")


def check(search: Any) -> None:
    """Validate the record of a search.

    Raises:
        TypeError, KeyError, AttributeError: an entry is missing or has the wrong type.
    """
    for one in search["trials"]:
        _ = one["number"], one["state"], one["search"], one["params"].items(), one["job"], one["reason"]
        _ = {one["job"], one["search"], one["state"]}, [float(value) for value in one["values"] or ()]
    for one in search["scores"].values():
        _ = one["params"].items(), {key: float(value) for key, value in one["test"].items()}
    for parameter in search["space"].values():
        _ = [*(parameter.get("choices") or ())], (parameter.get("when") or {}).items()
    _ = search.keys(), [*search["objectives"]], [*search["best"]], [*search["directions"]]


def last_part(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the content of a nested search with only the jobs of its last part: folds use different data."""
    search = content.get("search")
    if not search or not search.get("nested"):
        return content
    labels = {one["job"]: one["search"] for one in search["trials"]}
    last = search["trials"][-1]["search"] if search["trials"] else ""
    jobs = [row for row in content["jobs"] if labels.get(row["folder"]) == last]
    kept = {row["folder"] for row in jobs}
    return {**content, "jobs": jobs, "groups": [group for group in content["groups"] if kept & set(group["jobs"])]}


def metric_of(content: Mapping[str, Any]) -> str | None:
    """Return the metric that a search optimises; None if it is not a search, or optimises a cost."""
    first = next(iter((content.get("search") or {}).get("objectives", ())), "")
    return str(first).partition("/")[2] if str(first).startswith("val/") else None


def facts(search: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the settings of a search as (term, description)."""
    states = [one["state"] for one in search["trials"]]
    counts = ", ".join(f"{states.count(state):,} {state}" for state in STATES if state in states)
    pairs = zip(search["objectives"], search["directions"], strict=False)
    found = [
        ("trials", f"{len(states):,}: {counts}" if states else "none"),
        ("objective", ", ".join(f"{objective} ({direction})" for objective, direction in pairs)),
        ("sampler", f"{search.get('sampler')}, seed {search.get('seed')}"),
        ("pruner", str(search.get("pruner") or "none")),
    ]
    return found + [(f"space of {key}", range_of(parameter)) for key, parameter in search["space"].items()]


def range_of(parameter: Mapping[str, Any]) -> str:
    """Describe the range of a parameter."""
    if parameter.get("choices") is not None:
        text = ", ".join(map(shown, parameter["choices"]))
    else:
        text = f"{shown(parameter.get('low'))} to {shown(parameter.get('high'))}"
        text += ", on a log scale" if parameter.get("log") else ""
        text += f", in steps of {shown(parameter['step'])}" if parameter.get("step") else ""
    when = parameter.get("when") or {}
    return text + (f"; if {', '.join(f'{key} is {matched(value)}' for key, value in when.items())}" if when else "")


def matched(value: Any) -> str:
    """Describe a condition on another parameter: a value, one of several, or a range."""
    if isinstance(value, Mapping):
        ends = {"low": "at least", "high": "at most"}
        return " and ".join(f"{words} {shown(value[end])}" for end, words in ends.items() if value.get(end) is not None)
    if isinstance(value, (list, tuple)):
        return " or ".join(map(shown, value))
    return shown(value)


def tables(search: Mapping[str, Any], listed: int, short: Callable[[str], str]) -> list[Table]:
    """Return the scored folds of a nested search, the Pareto front, and all trials, the first ``listed`` expanded."""
    found = [fold_table(search, short)] if search["scores"] else []
    keys = list(search["space"])
    several = len({one["search"] for one in search["trials"]}) > 1
    rows = [
        [
            str(one["number"]), *([one["search"]] if several else []),
            *(brief(value) for value in filled(one["values"], len(search["objectives"]))), one["state"],
            *(brief(one["params"].get(key, "")) for key in keys), str(one["reason"] or ""),
        ]
        for one in search["trials"]
    ]  # fmt: skip
    names = [short(key) for key in keys]
    columns = ["trial", *(["search"] if several else []), *search["objectives"], "state", *names, "reason"]
    if len(search["objectives"]) > 1:
        front = [row for row, one in zip(rows, search["trials"], strict=True) if one["number"] in search["best"]]
        caption = "No trial is better in one of the objectives without being worse in another."
        found.append(Table("Pareto front", caption, columns[:-1], [row[:-1] for row in front]))
    caption = "Pruned trials show the value of their last validation."
    return [*found, Table("All trials", caption, columns, rows[:listed], rows[listed:])]


def fold_table(search: Mapping[str, Any], short: Callable[[str], str]) -> Table:
    """Return the configuration selected without each fold, and its score on that fold."""
    scores = search["scores"]
    metrics = list(dict.fromkeys(name for one in scores.values() for name in one["test"]))
    rows = [
        [
            fold, *(brief(one["test"].get(metric)) for metric in metrics), brief(one.get("picked")),
            ", ".join(f"{short(key)}={brief(value)}" for key, value in one["params"].items()),
        ]
        for fold, one in scores.items()
    ]  # fmt: skip
    means = [sum(one["test"].get(metric, math.nan) for one in scores.values()) / len(scores) for metric in metrics]
    rows.append(["mean", *map(brief, means), "", ""])
    return Table(
        "Outer folds",
        "Each fold is held out from one complete search: training, pruning and selection do not use it.",
        ["fold", *(f"test {metric}" for metric in metrics), f"inner {search['objectives'][0]}", "selected"],
        rows,
    )


def filled(values: Sequence[float] | None, size: int) -> list[float | None]:
    """Pad values to the number of objectives."""
    return [*(values or ()), *([None] * size)][:size]


def brief(value: Any) -> str:
    """Return a value as text, a float with four digits."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else shown(value)
