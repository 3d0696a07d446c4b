"""The results of a benchmark, the content of ``benchmark.json``: every run, every predictor, and mean ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellstate.benchmarking import attempts
from cellstate.benchmarking.plan import Job
from cellstate.benchmarking.ranks import ranked
from cellstate.benchmarking.request import DataSet, Published, Request
from cellstate.benchmarking.state import manifest_of, state_of
from cellstate.metrics.predictors import OPTIMA, spoken
from cellstate.metrics.statistics import LEVEL, summarise
from cellstate.metrics.table import metric_of, rank
from cellstate.runs.json_file import read_json
from cellstate.sweep.compare.outcome import averaged
from cellstate.sweep.results import finite

MEBIBYTE = 2**20
SECONDS = ("fit", "whole", "cpu")
STATUSES = {
    "new": "not trained",
    "unfinished": "interrupted",
    "running": "running",
    "complete": "complete",
    "changed": "of another config or data",
}


def outcome(
    request: Request, source: Path, folder: Path, jobs: Sequence[Job], failures: Mapping[Job, str]
) -> dict[str, Any]:
    """Return the content of ``benchmark.json``, with what is complete so far."""
    runs = [dict(of_run(job, folder, failures.get(job))) for job in jobs]
    datasets = [dict(of_dataset(request, name, runs)) for name in request.datasets]
    groups = list(dict.fromkeys(dataset["group"] for dataset in datasets))
    return {
        "name": source.stem,
        "file": str(source),
        "seeds": request.seeds,
        "overrides": request.overrides,
        "methods": request.methods,
        "level": LEVEL,
        **where_from(jobs),
        "datasets": datasets,
        "groups": [
            {"name": group, **ranked([dataset for dataset in datasets if dataset["group"] == group])}
            for group in groups
        ],
        "runs": runs,
    }


def where_from(jobs: Sequence[Job]) -> dict[str, Any]:
    """Return machine and versions of the first run that has recorded them."""
    manifest = next((found for job in jobs if "machine" in (found := manifest_of(job))), {})
    return {name: manifest.get(name) for name in ("machine", "device", "versions")}


# ---------------------------------------------------------------------- runs


def of_run(job: Job, folder: Path, failure: str | None) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a run."""
    state = state_of(job)
    manifest = manifest_of(job)
    metrics = read_json(job.folder / "metrics.json") if state == "complete" else {}
    yield from {"dataset": job.dataset, "method": job.method, "seed": job.seed}.items()
    failure = failure or (
        manifest.get("reason") if state == "unfinished" else None
    )  # of this command or an earlier one
    absent = f"no such file: {', '.join(map(str, job.absent))}" if job.absent and state == "new" else None
    yield "status", "failed" if failure else STATUSES[state]
    yield "reason", failure or absent
    yield "words", list(job.words)
    yield "folder", str(job.folder.relative_to(folder))
    yield "log", str(job.log.relative_to(folder))
    yield "headline", metrics.get("headline")
    yield "test", finite(metrics.get("test", {}))
    yield "reference", finite(metrics.get("reference", {}))
    yield from ((name, metrics.get(name)) for name in ("parameters", "epochs", "steps"))
    used = attempts.usage(job.folder) if metrics else {}
    fit = (metrics.get("seconds") or {}).get("fit")
    yield "seconds", {"fit": fit, "whole": used.get("seconds"), "cpu": used.get("cpu_seconds")}
    yield "memory", used["memory_bytes"] / MEBIBYTE if used.get("memory_bytes") else None
    yield "resumed", len(manifest.get("resumed", [])) if metrics else 0


# ---------------------------------------------------------------------- data sets


def of_dataset(request: Request, name: str, everything: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a data set."""
    dataset = request.datasets[name]
    runs = [run for run in everything if run["dataset"] == name]
    metric, label = judged_by(dataset, runs)
    shown = [metric, *(one for one in dataset.also if one != metric)]
    yield "name", name
    yield "group", dataset.group
    yield "files", dataset.files
    yield "overrides", dataset.overrides
    yield "metric", metric
    yield "label", label
    yield "better", metric_of(metric).in_words
    yield "also", shown[1:]
    rows = [
        dict(of_method(method, [run for run in runs if run["method"] == method], shown))
        for method in request.methods_of(dataset)
    ]
    rows += [*of_references(runs, shown), *(of_published(one, shown) for one in dataset.published)]
    mark_best(rows, shown)
    yield "rows", sorted(rows, key=lambda row: rank(metric, row["score"] and row["score"]["mean"]))


def judged_by(dataset: DataSet, runs: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return the metric of a data set and its label: the given one, else the headline of its first complete run."""
    headline = next((run["headline"] for run in runs if run["headline"]), {"metric": "loss", "label": "loss"})
    if dataset.metric is None or dataset.metric == headline["metric"]:
        return headline["metric"], headline["label"]
    return dataset.metric, dataset.metric.replace("_", " ")


def of_method(name: str, runs: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a method on a data set: means over its seeds."""
    done = [run for run in runs if run["status"] == "complete"]
    yield from row_of(
        "method", name, [{metric: run["test"].get(metric) for metric in shown} for run in done], shown
    ).items()
    yield "seeds", [run["seed"] for run in done]
    yield "missing", [{part: run[part] for part in ("seed", "status", "reason")} for run in runs if run not in done]
    sizes = {run["parameters"] for run in done}
    yield "parameters", sizes.pop() if len(sizes) == 1 else None
    yield "seconds", {name: mean([run["seconds"][name] for run in done]) for name in SECONDS}
    yield "memory", mean([run["memory"] for run in done])
    yield "folders", [run["folder"] for run in done]


def of_references(runs: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> list[dict[str, Any]]:
    """Return optimum and baselines of a data set, averaged over the runs, whose data may depend on the seed."""
    tables = {metric: averaged(run["reference"].get(metric, {}) for run in runs) for metric in shown}
    names = dict.fromkeys(name for table in tables.values() for name in table)
    return [
        row_of(
            "optimum" if name in OPTIMA else "reference",
            spoken(name),
            [{metric: tables[metric].get(name) for metric in shown}],
            shown,
        )
        for name in names
    ]


def of_published(one: Published, shown: Sequence[str]) -> dict[str, Any]:
    """Return the row of a published figure."""
    scores = {**one.also, shown[0]: one.score}
    return {**row_of("optimum" if one.optimum else "published", one.name, [scores], shown), "source": one.source}


def row_of(kind: str, name: str, scores: Sequence[Mapping[str, float | None]], shown: Sequence[str]) -> dict[str, Any]:
    """Return the row of a predictor with the summaries of its scores, the first in the metric of the data set."""
    first, *also = (summary([one.get(metric) for one in scores]) for metric in shown)
    return {"kind": kind, "name": name, "score": first, "also": dict(zip(shown[1:], also, strict=True)), "best": []}


def summary(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Return mean and interval of the known scores; None if there are none."""
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    return summarise(known) if known else None


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the known values; None if there are none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def mark_best(rows: Sequence[dict[str, Any]], shown: Sequence[str]) -> None:
    """Record in each row the metrics in which no other predictor is better, once a method has a score."""
    if not any(row["kind"] == "method" and row["score"] for row in rows):
        return
    for metric in shown:
        scores = {
            at: found["mean"]
            for at, row in enumerate(rows)
            if row["kind"] != "optimum" and (found := row["also"].get(metric, row["score"]))
        }
        best = min((rank(metric, score) for score in scores.values()), default=None)
        for at, score in scores.items():
            if rank(metric, score) == best:
                rows[at]["best"].append(metric)
