"""The result of a comparison, ``comparison.json``: all scores and differences, and a verdict on each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cellstate.errors import RequestError, did_you_mean
from cellstate.metrics.headline import Headline
from cellstate.metrics.statistics import summarise
from cellstate.metrics.table import metric_of, rank
from cellstate.report.headlines import headline_of
from cellstate.report.sweep.page import config_of
from cellstate.report.sweep.reading import JobRow
from cellstate.runs.json_file import read_json
from cellstate.runs.writing import write_whole
from cellstate.sweep.compare.request import Request
from cellstate.sweep.compare.sizes import Size
from cellstate.sweep.compare.statistics import LEVEL, Difference, compare
from cellstate.sweep.tables import write_table

NOTHING = "no difference shown"


@dataclass(frozen=True)
class Variant:
    """A variant under one condition.

    Attributes:
        name: for display.
        overrides: that define it, key -> value.
        given: values chosen by matching and tuning.
        size: of its network.
        rows: repetition, such as ``seed=3`` -> row of its run.
    """

    name: str
    overrides: dict[str, Any]
    given: dict[str, Any]
    size: Size
    rows: dict[str, JobRow]

    @property
    def done(self) -> dict[str, JobRow]:
        """The completed runs."""
        return {repeat: row for repeat, row in self.rows.items() if row["status"] == "completed"}


@dataclass(frozen=True)
class Condition:
    """Overrides of the data, and the variants trained on it."""

    overrides: dict[str, Any]
    variants: list[Variant] = field(default_factory=list)


def scored(folder: Path, conditions: Sequence[Condition], request: Request, command: Sequence[str]) -> dict[str, Any]:
    """Return the content of ``comparison.json``."""
    split = "test" if request.test else "val"
    found = [dict(of_condition(folder, condition, request, split)) for condition in conditions]
    return {
        "name": folder.name,
        "command": list(command),
        "match": request.match,
        "level": LEVEL,
        "tuned": request.tune,
        "split": split,
        "generalise": request.generalise,
        "conditions": found,
    }


def of_condition(folder: Path, condition: Condition, request: Request, split: str) -> Iterator[tuple[str, Any]]:
    """Yield the fields of one condition."""
    metric = judged_by(folder, condition, request.metric, split)
    scores = {
        variant.name: {
            key: row[split][metric] for key, row in variant.done.items() if row[split].get(metric) is not None
        }
        for variant in condition.variants
    }
    differences = compare({name: own for name, own in scores.items() if own})
    yield "overrides", condition.overrides
    yield "metric", metric
    yield "higher_is_better", metric_of(metric).higher_is_better
    yield "reference", references(folder, condition, metric)
    yield "variants", [dict(of_variant(variant, scores[variant.name])) for variant in condition.variants]
    pairs = [{"one": one, "other": other, **asdict(found)} for (one, other), found in differences.items()]
    shown = [found.shown for found in differences.values()]
    yield "differences", [{**pair, "shown": one} for pair, one in zip(pairs, shown, strict=True)]
    yield "verdict", verdict(metric, [variant.name for variant in condition.variants], differences)
    yield "trained", trained(folder, condition, request.generalise)
    yield "generalisation", list(generalisation(condition, metric, request.generalise))


def trained(folder: Path, condition: Condition, asked: Mapping[str, Sequence[Any]]) -> Any:
    """Return the training value of the data key for which generalisation is measured."""
    rows = [row for variant in condition.variants for row in variant.done.values()]
    data = config_of(folder / rows[0]["folder"]).get("data") or {} if rows else {}
    return next((data.get(key.partition(".")[2]) for key in asked), None)


def generalisation(condition: Condition, metric: str, asked: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield the scores of each variant for each value of the generalisation key.

    Scores are of the validation split, in the format of a condition, so that they are displayed like one.
    """
    for key, value in ((key, value) for key, values in asked.items() for value in sorted(values)):
        points = {
            variant.name: {repeat: row["generalised"][str(value)] for repeat, row in variant.done.items()}
            for variant in condition.variants
        }
        first = next(iter(points.values()), {})
        scores = {name: {repeat: one["metrics"][metric] for repeat, one in own.items()} for name, own in points.items()}
        yield {
            "overrides": {key: value},
            "metric": metric,
            "reference": averaged(one["reference"].get(metric, {}) for one in first.values()),
            "variants": [
                {"name": name, "scores": own, "score": summarise(list(own.values())) if own else None}
                for name, own in scores.items()
            ],
        }


def of_variant(variant: Variant, scores: Mapping[str, float]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a variant under one condition."""
    seconds = [row["seconds"]["fit"] for row in variant.done.values() if row["seconds"]]
    yield "name", variant.name
    yield "overrides", variant.overrides
    yield "given", variant.given
    yield "parameters", variant.size.parameters
    yield "state", variant.size.state
    yield "scores", dict(scores)
    yield "score", summarise(list(scores.values())) if scores else None
    yield "seconds", summarise(seconds) if seconds else None
    yield "missing", [repeat for repeat in variant.rows if repeat not in scores]
    yield "folders", {repeat: row["folder"] for repeat, row in variant.rows.items()}


def judged_by(folder: Path, condition: Condition, asked: str | None, split: str) -> str:
    """Return the metric of a condition: the given one, else the main metric of its task.

    Raises:
        RequestError: its runs do not have the metric.
    """
    rows = [row for variant in condition.variants for row in variant.done.values()]
    if asked is None:
        asked = (headline_of(folder / row["folder"] for row in rows[:1]) or Headline()).metric
    if metric_of(asked).mode is None:
        raise RequestError(
            f"comparison.metric={asked}: has no better direction ({metric_of(asked).in_words}); choose another metric"
        )
    if rows and not any(asked in row[split] for row in rows):
        raise RequestError(f"comparison.metric={asked}: the runs do not have it{did_you_mean(asked, rows[0][split])}")
    return asked


def references(folder: Path, condition: Condition, metric: str) -> dict[str, float]:
    """Return predictor -> score of optimum and baselines, averaged over the runs, whose data may depend on the seed."""
    rows = [row for variant in condition.variants[:1] for row in variant.done.values()]
    tables = [
        row.get("reference") or read_json(folder / row["folder"] / "metrics.json").get("reference", {}) for row in rows
    ]
    return averaged(table.get(metric, {}) for table in tables)


def averaged(tables: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return name -> mean of the scores in several tables; names with a missing score are left out."""
    found: dict[str, list[float]] = {}
    for table in tables:
        for name, value in table.items():
            found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items() if None not in values}


def verdict(metric: str, names: Sequence[str], differences: Mapping[tuple[str, str], Difference]) -> list[str]:
    """Return a line for each pair of variants: which is better, or that no difference is shown."""
    lines = []
    for (one, other), found in differences.items():
        if not found.shown:
            lines.append(f"{one} and {other}: {NOTHING}")
            continue
        first = rank(metric, found.mean) < 0
        better, worse = (one, other) if first else (other, one)
        lines.append(f"{better} is better than {worse}")
    compared = {name for pair in differences for name in pair}
    return lines + [f"{name}: no run is complete" for name in names if len(names) > 1 and name not in compared]


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``comparison.json``, and ``comparison.csv`` with a row for each variant under each condition."""
    text = json.dumps(content, indent=2) + "\n"
    write_whole(folder / "comparison.json", lambda draft: draft.write_text(text))
    rows = [
        {
            **condition["overrides"],
            "variant": variant["name"],
            "metric": f"{content['split']}/{condition['metric']}",
            **{part: (variant["score"] or {}).get(part) for part in ("mean", "std", "low", "high", "n")},
            "parameters": variant["parameters"],
            "state": variant["state"],
            "seconds": (variant["seconds"] or {}).get("mean"),
        }
        for condition in content["conditions"]
        for variant in condition["variants"]
    ]
    write_table(folder / "comparison.csv", rows)
