"""What the page of a search says beside that of any sweep: its trials, and its folds. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellstate.report.asked import shown

STATES = ("complete", "pruned", "failed", "running")


@dataclass(frozen=True)
class Table:
    """A table of the page, as ``parts.html.jinja`` takes it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: Sequence[Sequence[str]] = ()
    caption: str = ""


def check(search: Any) -> None:
    """Refuse what no search writes.

    Raises:
        TypeError, KeyError, AttributeError: something is not there, or not what it should be.
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
    """Return the list of a nested search with the jobs of its last part alone: those of folds have other data each."""
    search = content.get("search")
    if not search or not search.get("nested"):
        return content
    labels = {one["job"]: one["search"] for one in search["trials"]}
    last = search["trials"][-1]["search"] if search["trials"] else ""
    jobs = [row for row in content["jobs"] if labels.get(row["folder"]) == last]
    kept = {row["folder"] for row in jobs}
    return {**content, "jobs": jobs, "groups": [group for group in content["groups"] if kept & set(group["jobs"])]}


def metric_of(content: Mapping[str, Any]) -> str | None:
    """Return the metric that a search ranks by, None where it is no search, or ranks by a cost."""
    first = next(iter((content.get("search") or {}).get("objectives", ())), "")
    return str(first).partition("/")[2] if str(first).startswith("val/") else None


def facts(search: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was searched and how, term -> words."""
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
    """Return a parameter's values in words."""
    if parameter.get("choices") is not None:
        text = ", ".join(map(shown, parameter["choices"]))
    else:
        text = f"{shown(parameter.get('low'))} to {shown(parameter.get('high'))}"
        text += ", on a log scale" if parameter.get("log") else ""
        text += f", in steps of {shown(parameter['step'])}" if parameter.get("step") else ""
    when = parameter.get("when") or {}
    return text + (f"; where {', '.join(f'{key} is {matched(value)}' for key, value in when.items())}" if when else "")


def matched(value: Any) -> str:
    """Return in words what another parameter has to be for one to be tried: a value, one of several, or a range."""
    if isinstance(value, Mapping):
        ends = {"low": "at least", "high": "at most"}
        return " and ".join(f"{words} {shown(value[end])}" for end, words in ends.items() if value.get(end) is not None)
    if isinstance(value, (list, tuple)):
        return " or ".join(map(shown, value))
    return shown(value)


def tables(search: Mapping[str, Any], listed: int, short: Callable[[str], str]) -> list[Table]:
    """Return the folds of a nested search as far as they were scored, the front, and all trials.

    Args:
        search: what ``sweep.json`` holds of it.
        listed: how many trials are listed at once.
        short: makes a short name of a key.
    """
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
        said = "The front: whatever is better than one of them in one objective is worse in another."
        found.append(
            Table(
                "Trials that none betters in every objective", columns[:-1], [row[:-1] for row in front], caption=said
            )
        )
    caption = "A trial that is pruned shows what its last validation found."
    return [*found, Table("Every trial", columns, rows[:listed], rows[listed:], caption)]


def fold_table(search: Mapping[str, Any], short: Callable[[str], str]) -> Table:
    """Return what the search without each fold chose, and what that reaches on the fold."""
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
        "What each search chose, on the fold that it has not seen",
        ["fold", *(f"scored {metric}" for metric in metrics), f"picked by {search['objectives'][0]}", "chosen"],
        rows,
        caption="Each fold is left out of one whole search: neither training nor pruning nor picking has seen it.",
    )


def filled(values: Sequence[float] | None, size: int) -> list[float | None]:
    """Return as many values as there are objectives."""
    return [*(values or ()), *([None] * size)][:size]


def brief(value: Any) -> str:
    """Return a value with four digits where it is a number that was drawn or measured."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else shown(value)
