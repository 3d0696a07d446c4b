"""Mean ranks of predictors over data sets, as in Demšar (2006), Statistical comparisons of classifiers."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cellstate.metrics.table import metric_of, rank

DIGITS = 12  # significant digits in which tied scores agree; means differ in the last ones by rounding


def ranks(metric: str, scores: Sequence[float]) -> list[float]:
    """Return the rank of each score, 1 for the best; tied ones share the mean of their ranks."""
    keys = [float(f"{rank(metric, score):.{DIGITS}g}") for score in scores]
    return [sum(other < key for other in keys) + (keys.count(key) + 1) / 2 for key in keys]


def ranked(datasets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean ranks of the predictors that all of some data sets have scores of, best first.

    Data sets without a complete run do not count, and neither do optima.

    Args:
        datasets: entries of ``benchmark.json`` of one group.
    """
    scored = [dataset for dataset in datasets if any(one["kind"] == "method" for one, _ in scores_of(dataset))]
    table = {
        dataset["name"]: {(row["kind"], row["name"]): score for row, score in scores_of(dataset)} for dataset in scored
    }
    known = list(dict.fromkeys(key for own in table.values() for key in own))
    everywhere = [key for key in known if all(key in own for own in table.values())]
    metrics = {dataset["name"]: dataset["metric"] for dataset in scored}
    places = {name: ranks(metrics[name], [own[key] for key in everywhere]) for name, own in table.items()}
    shared = next(iter(metrics.values())) if len(set(metrics.values())) == 1 else None
    averaged = shared is not None and metric_of(shared).unit_free
    rows = [
        {
            "kind": kind,
            "name": name,
            "rank": statistics.fmean(own[at] for own in places.values()),
            "ranks": {dataset: own[at] for dataset, own in places.items()},
            "score": statistics.fmean(own[kind, name] for own in table.values()) if averaged else None,
        }
        for at, (kind, name) in enumerate(everywhere)
    ]
    return {
        "datasets": list(table),
        "metric": shared if averaged else None,
        "rows": sorted(rows, key=lambda row: row["rank"]),
        "left_out": [
            {
                "kind": kind,
                "name": name,
                "lacks": [dataset for dataset, own in table.items() if (kind, name) not in own],
            }
            for kind, name in known
            if (kind, name) not in everywhere
        ],
    }


def scores_of(dataset: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], float]]:
    """Yield the predictors of a data set that have a score and may be beaten, with it."""
    for row in dataset["rows"]:
        if row["kind"] != "optimum" and row["score"] is not None:
            yield row, row["score"]["mean"]
