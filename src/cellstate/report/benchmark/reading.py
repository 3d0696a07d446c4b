"""Read ``benchmark.json`` for the page of a benchmark. Imports nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellstate.errors import RequestError
from cellstate.metrics.table import rank

FILE = "benchmark.json"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class DataSet:
    """A data set of a benchmark: its entry in ``benchmark.json``."""

    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return self.content["name"]

    @property
    def metric(self) -> str:
        """The metric that ranks predictors."""
        return self.content["metric"]

    @property
    def metrics(self) -> list[str]:
        """The metrics to show, that of the ranks first."""
        return [self.metric, *self.content["also"]]

    @property
    def rows(self) -> Sequence[Row]:
        """All predictors, the best first."""
        return self.content["rows"]

    def of(self, kind: str) -> list[Row]:
        """Return the predictors of a kind that have a score, the best first."""
        return [row for row in self.rows if row["kind"] == kind and row["score"] is not None]

    def method(self, name: str) -> Row | None:
        """Return the row of a method; None if the data set does not have it."""
        return next((row for row in self.rows if row["kind"] == "method" and row["name"] == name), None)

    def score(self, row: Row, metric: str) -> Mapping[str, Any] | None:
        """Return the summary of a predictor's scores in a metric."""
        return row["score"] if metric == self.metric else row["also"].get(metric)


@dataclass(frozen=True)
class Group:
    """Data sets whose predictors are ranked together, and their mean ranks."""

    content: Mapping[str, Any]
    datasets: Sequence[DataSet]

    @property
    def name(self) -> str:
        """Its name; empty for data sets without a group."""
        return self.content["name"]

    @property
    def ranks(self) -> Sequence[Row]:
        """The predictors that are ranked, the best first."""
        return self.content["rows"]

    @property
    def ranked_on(self) -> Sequence[str]:
        """The names of the data sets that count."""
        return self.content["datasets"]

    @property
    def methods(self) -> list[str]:
        """The methods of its data sets, in the order of the first that has them."""
        names = {row["name"] for dataset in self.datasets for row in dataset.rows if row["kind"] == "method"}
        return [name for name in self.content["methods"] if name in names]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark and its results."""

    folder: Path
    content: Mapping[str, Any]

    @property
    def datasets(self) -> list[DataSet]:
        """All data sets."""
        return [DataSet(one) for one in self.content["datasets"]]

    @property
    def groups(self) -> list[Group]:
        """All groups."""
        order = {"methods": list(self.content["methods"])}
        return [
            Group({**one, **order}, [dataset for dataset in self.datasets if dataset.content["group"] == one["name"]])
            for one in self.content["groups"]
        ]

    @property
    def open_runs(self) -> list[Row]:
        """The runs that are not complete."""
        return [run for run in self.content["runs"] if run["status"] != "complete"]


def best_of(dataset: DataSet, kind: str) -> Row | None:
    """Return the best predictor of a kind; None if there is none."""
    return min(dataset.of(kind), key=lambda row: rank(dataset.metric, row["score"]["mean"]), default=None)


def read(folder: Path) -> Benchmark:
    """Return the benchmark of a folder.

    Raises:
        RequestError: ``benchmark.json`` is missing or invalid.
    """
    file = folder / FILE
    try:
        found = Benchmark(folder, json.loads(file.read_text(encoding="utf-8")))
        for group in found.groups:
            _ = group.name, group.ranks, group.methods
            _ = [(one.metrics, one.rows, one.content["label"], one.content["better"]) for one in group.datasets]
        _ = found.open_runs
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RequestError(f"{file}: is not a valid benchmark ({error}); it was modified or removed") from error
    return found
