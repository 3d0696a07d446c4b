"""Read ``sweep.json`` and rank its configurations by one metric. Imports nothing heavy."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cellstate.errors import RequestError, did_you_mean
from cellstate.metrics.table import rank
from cellstate.report.configuration import shown
from cellstate.report.sweep import searching
from cellstate.runs.json_file import read_json

JobRow = Mapping[str, Any]
STATUSES = ("completed", "pruned", "running", "interrupted", "failed", "pending")
ROW = {"folder", "group", "overrides", "repeat", "status", "reason", "val", "test", "best", "parameters", "seconds"}


@dataclass(frozen=True)
class Group:
    """All repetitions of one configuration, with their scores.

    name: the values in which groups differ.
    values: key -> value of the varying keys that the configuration sets.
    rows: its jobs; ``done``, the complete ones.
    mean, interval: of the metric, and its 95 % interval (None with fewer than two scores).
    """

    name: str
    values: Mapping[str, Any]
    rows: Sequence[JobRow]
    done: Sequence[JobRow]
    missing: Sequence[Mapping[str, Any]]
    summaries: Mapping[str, Mapping[str, Any] | None]  # metric -> mean, std, low, high, n
    metric: str

    @property
    def mean(self) -> float | None:
        """The mean of the metric; None if no job has one."""
        return self.of(self.metric, "mean")

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of that mean; None if there is none."""
        low, high = self.of(self.metric, "low"), self.of(self.metric, "high")
        return None if low is None or high is None else (low, high)

    def of(self, metric: str, part: str) -> float | None:
        """Return one statistic of a metric."""
        return (self.summaries.get(metric) or {}).get(part)

    def average(self, value: str) -> float | None:
        """Return the mean of ``parameters``, or of the ``seconds`` of training, over the completed jobs."""
        found = [(row["seconds"] or {}).get("fit") if value == "seconds" else row[value] for row in self.done]
        known = [float(one) for one in found if one is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class Sweep:
    """A sweep, its groups ranked by ``metric`` on ``split``."""

    folder: Path
    content: Mapping[str, Any]
    split: str
    metric: str

    @property
    def rows(self) -> Sequence[JobRow]:
        """Every job."""
        return self.content["jobs"]

    @property
    def done(self) -> list[JobRow]:
        """The completed jobs."""
        return [row for row in self.rows if row["status"] == "completed"]

    @cached_property
    def keys(self) -> list[str]:
        """The keys in which configurations differ, without those that repeat one; for a search, its space."""
        found = varying([group["overrides"] for group in self.content["groups"]])
        search = self.content.get("search")
        return [key for key in found if key in search["space"]] if search else found

    @cached_property
    def repeats(self) -> list[str]:
        """The keys that only repeat a configuration, such as ``seed``."""
        return varying([row["repeat"] for row in self.rows])

    @cached_property
    def groups(self) -> list[Group]:
        """All configurations by rank; those without a score last."""
        by_folder = {row["folder"]: row for row in self.rows}
        found = []
        for group in self.content["groups"]:
            rows = [by_folder[folder] for folder in group["jobs"] if folder in by_folder]
            done = [row for row in rows if row["status"] == "completed"]
            values = {key: group["overrides"][key] for key in self.keys if key in group["overrides"]}
            summaries = group.get(self.split) or {}
            name = self.name_of(values) or "all jobs"
            found.append(Group(name, values, rows, done, group["missing"], summaries, self.metric))
        return sorted(found, key=lambda group: rank(self.metric, group.mean))

    @property
    def scored(self) -> list[Group]:
        """The configurations that have a score, by rank."""
        return [group for group in self.groups if group.mean is not None]

    @property
    def metrics(self) -> list[str]:
        """All metrics of the split, the ranking metric first."""
        names = dict.fromkeys(name for row in self.done for name in row[self.split])
        return [self.metric, *(name for name in names if name != self.metric)]

    def score(self, row: JobRow) -> float | None:
        """Return the score of a job."""
        return row[self.split].get(self.metric)

    def counts(self) -> dict[str, int]:
        """Return the number of jobs by status."""
        found = {status: sum(row["status"] == status for row in self.rows) for status in STATUSES}
        return {status: number for status, number in found.items() if number}

    def short(self, key: str) -> str:
        """Return the last part of a key if it is unambiguous: ``lr`` for ``optimizer.lr``."""
        last = key.rpartition(".")[2]
        others = [other for other in (*self.keys, *self.repeats) if other != key]
        return key if any(other.rpartition(".")[2] == last for other in others) else last

    def name_of(self, values: Mapping[str, Any]) -> str:
        """Return a name for override values: ``gru, lr=0.01``."""
        return ", ".join(
            brief(value) if "." not in key and isinstance(value, str) else f"{self.short(key)}={brief(value)}"
            for key, value in values.items()
        )

    @cached_property
    def reference(self) -> dict[str, float]:
        """Reference predictor -> mean score over the completed jobs; empty if configurations used different data.

        Different seeds may generate different data, whose references differ slightly. If configurations with the same
        seed were scored on different data, they share no reference.
        """
        data: dict[str, set[str]] = {}
        found: dict[str, list[float]] = {}
        for row in self.done:
            place = self.folder / row["folder"]
            data.setdefault(json.dumps(row["repeat"], sort_keys=True), set()).add(
                str(read_json(place / "manifest.json").get("data"))
            )
            for name, value in (read_json(place / "metrics.json").get("reference", {}).get(self.metric) or {}).items():
                if isinstance(value, (int, float)) and math.isfinite(value):
                    found.setdefault(name, []).append(float(value))
        if any(len(kinds) > 1 for kinds in data.values()):
            return {}
        return {name: sum(values) / len(values) for name, values in found.items()}


def history_of(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a run's ``metrics.csv``; empty if it cannot be read."""
    try:
        return read_rows(folder / "metrics.csv")
    except (OSError, ValueError, TypeError):
        return []


def read_rows(file: Path) -> list[dict[str, float]]:
    """Return the rows of a ``metrics.csv``, without empty cells."""
    with file.open(newline="", encoding="utf-8") as lines:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(lines)]


def read(folder: Path, metric: str | None, preferred: str | None) -> Sweep:
    """Return the sweep of a folder, ranked by ``metric`` (``val/NAME``, ``test/NAME`` or ``NAME``), else ``preferred``.

    Raises:
        RequestError: ``sweep.json`` is invalid, or the jobs do not have the metric.
    """
    content = searching.last_part(read_list(folder / "sweep.json"))
    preferred = searching.metric_of(content) or preferred
    done = [row for row in content["jobs"] if row["status"] == "completed"]
    tested = bool(done) and all(row["test"] for row in done)
    split, name = "test" if tested else "val", metric
    if metric is not None and "/" in metric:
        split, _, name = metric.partition("/")
    known = common([row["val"] for row in done])
    available = [f"{part}/{one}" for part in ("val", "test") for one in common([row.get(part) or {} for row in done])]
    if name is None:
        name = preferred if preferred in known else next((one for one in ("loss", *known) if one in known), "loss")
    elif f"{split}/{name}" not in available:
        raise RequestError(f"metric={metric}: not a metric of these jobs{did_you_mean(f'{split}/{name}', available)}")
    return Sweep(folder, content, split, name)


def read_list(file: Path) -> dict[str, Any]:
    """Return the content of ``sweep.json``.

    Raises:
        RequestError: its content is invalid.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        for row in content["jobs"]:
            if not row.keys() >= ROW or not isinstance(row["overrides"], dict):
                raise KeyError(*(ROW - row.keys()))
        for group in content["groups"]:
            _ = group["overrides"].items(), [*group["jobs"]], [*group["missing"]]
        if content.get("search"):
            searching.check(content["search"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RequestError(
            f"{file}: is not a valid list of a sweep's jobs ({error}); repeat the sweep's command, which rebuilds it "
            "from the job folders without training completed jobs again"
        ) from error
    return content


def brief(value: Any) -> str:
    """Return a value as short text: the last part of a path, four digits of a float."""
    if isinstance(value, str) and "/" in value.strip("/"):
        value = value.rstrip("/").rpartition("/")[2]
    return f"{value:.4g}" if isinstance(value, float) and len(repr(value)) > 7 else shown(value)


def common(scores: Iterable[Mapping[str, float | None]]) -> list[str]:
    """Return the metrics that all scores share."""
    several = list(scores)
    return [name for name in (several[0] if several else ()) if all(name in one for one in several)]


def varying(overrides: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys whose value differs or is missing in some."""
    keys = dict.fromkeys(key for one in overrides for key in one)
    return [key for key in keys if any(key not in one or one[key] != overrides[0].get(key) for one in overrides)]
