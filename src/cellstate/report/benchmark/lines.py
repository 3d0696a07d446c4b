"""The tables of a benchmark as text, for the page, the terminal and ``results.md``. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellstate.metrics.display import number
from cellstate.report.benchmark.reading import Benchmark, DataSet, Group, Row, best_of

# kind of a predictor -> the heading of the column with the best one
HEADINGS = {"reference": "best reference", "published": "best published", "optimum": "optimum"}


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, the half-width of an interval, and whether it is the best of the data set."""

    text: str
    half: str = ""
    best: bool = False

    @property
    def whole(self) -> str:
        """Text and half-width."""
        return f"{self.text} {self.half}".strip()


@dataclass(frozen=True)
class Line:
    """A row of a table: the name of a data set or a predictor, its kind, a remark to it, and its cells."""

    name: str
    cells: Sequence[Cell]
    kind: str = ""
    note: str = ""
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table: the heading of each column, and its rows. The last ``words`` columns contain text."""

    columns: Sequence[str]
    lines: Sequence[Line]
    words: int = 0


def scored(summary: Mapping[str, Any] | None, *, best: bool = False) -> Cell:
    """Return a mean with the half-width of its 95 % interval, if known."""
    if summary is None:
        return Cell("")
    if summary["low"] is None:
        return Cell(number(summary["mean"]), best=best)
    mean, half = number(summary["mean"]), (summary["high"] - summary["low"]) / 2
    width = number(half) if "e" in mean else f"{half:,.{len(mean.partition('.')[2])}f}"  # to as many decimals
    return Cell(mean, f"± {width}", best)


def overview(group: Group) -> Table:
    """Return a row for each data set: the methods, the best reference, the best published figure, cost."""
    kinds = [kind for kind in HEADINGS if any(dataset.of(kind) for dataset in group.datasets)]
    columns = [
        "data set",
        "metric",
        *group.methods,
        *(HEADINGS[kind] for kind in kinds),
        "fit s",
        "whole s",
        "parameters",
    ]
    return Table(columns, [overview_line(dataset, group.methods, kinds) for dataset in group.datasets])


def overview_line(dataset: DataSet, methods: Sequence[str], kinds: Sequence[str]) -> Line:
    """Return the row of a data set."""
    rows = [row for name in methods if (row := dataset.method(name)) is not None]
    own = [dataset.method(name) for name in methods]
    cells = [Cell("") if row is None else scored(row["score"], best=dataset.metric in row["best"]) for row in own]
    for kind in kinds:
        best = best_of(dataset, kind)
        cells.append(Cell("") if best is None else named(best, kind, best=dataset.metric in best["best"]))
    cost = (each(row["seconds"][part] for row in rows) for part in ("fit", "whole"))
    sizes = " / ".join("" if row["parameters"] is None else f"{row['parameters']:,}" for row in rows)
    missing = sum(len(row["missing"]) for row in rows)
    note = f"{missing} run{'s' * (missing != 1)} missing" if missing else ""
    metric = dataset.metric if any(row["score"] for row in dataset.rows) else ""
    return Line(dataset.name, [Cell(metric), *cells, *map(Cell, cost), Cell(sizes.strip(" /"))], note=note)


def named(row: Row, kind: str, *, best: bool) -> Cell:
    """Return the score of a reference, after its name where that says more than its kind."""
    score = number(row["score"]["mean"])
    return Cell(score if row["name"] == kind else f"{row['name']} {score}", best=best)


def each(values: Iterator[float | None]) -> str:
    """Return the seconds of several methods, in their order."""
    return " / ".join(seconds(value) for value in values).strip(" /")


def seconds(value: float | None) -> str:
    """Return seconds with a decimal if there are few of them; empty if they are not known."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def predictors(dataset: DataSet) -> Table:
    """Return a row for each predictor of a data set, the best first."""
    named = any(row.get("source") for row in dataset.rows)
    columns = ["predictor", *dataset.metrics, "seeds", "fit s", "whole s", "MiB", "parameters", *(["source"] * named)]
    return Table(columns, [predictor_line(dataset, row, named=named) for row in dataset.rows], words=int(named))


def predictor_line(dataset: DataSet, row: Row, *, named: bool) -> Line:
    """Return the row of a predictor."""
    cells = [scored(dataset.score(row, metric), best=metric in row["best"]) for metric in dataset.metrics]
    note = ""
    if row["kind"] == "method":
        cost = [seconds(row["seconds"][part]) for part in ("fit", "whole")]
        memory = "" if row["memory"] is None else f"{row['memory']:,.0f}"
        size = "" if row["parameters"] is None else f"{row['parameters']:,}"
        cells += map(Cell, (str(len(row["seeds"])), *cost, memory, size))
        note = ", ".join(missing(row))
    else:
        cells += [Cell("")] * 5
    if named:
        cells.append(Cell(row.get("source", "")))
    return Line(row["name"], cells, row["kind"], note)


def missing(row: Row) -> Iterator[str]:
    """Yield the seeds without a result by status, such as ``seeds 1, 2 failed``."""
    for status in dict.fromkeys(one["status"] for one in row["missing"]):
        seeds = [str(one["seed"]) for one in row["missing"] if one["status"] == status]
        yield f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} {status}"


def mean_ranks(group: Group) -> Table:
    """Return a row for each ranked predictor: its mean rank, its mean score if all metrics are the same, each rank."""
    shared = group.content["metric"]
    columns = ["predictor", "mean rank", *([f"mean {shared}"] if shared else []), *group.ranked_on]
    return Table(columns, list(rank_lines(group, shared=shared is not None)))


def rank_lines(group: Group, *, shared: bool) -> Iterator[Line]:
    """Yield the rows of the table of ranks."""
    first = group.ranks[0]["rank"] if group.ranks else None
    for row in group.ranks:
        scores = [Cell(number(row["score"]))] if shared else []
        own = [Cell(f"{row['ranks'][name]:g}") for name in group.ranked_on]
        yield Line(row["name"], [Cell(f"{row['rank']:.2f}", best=row["rank"] == first), *scores, *own], row["kind"])


def left_out(group: Group) -> str:
    """Return the predictors without a rank, each with the data sets that it lacks; empty if none has one, or all."""
    if not group.ranks:
        return ""
    named = [f"{one['name']} ({lacking(one['lacks'])})" for one in group.content["left_out"]]
    return f"Not ranked, for want of a score on every data set: {', '.join(named)}." if named else ""


def lacking(names: Sequence[str]) -> str:
    """Return the data sets that a predictor has no score of."""
    return f"not on {names[0]}" if len(names) == 1 else f"not on {len(names)} of them"


def verdict(group: Group) -> str:
    """Return a sentence on the mean ranks of a group's methods; empty if none is ranked."""
    own = [(place, row) for place, row in enumerate(group.ranks, start=1) if row["kind"] == "method"]
    if not own or len(group.ranks) < 2:
        return ""
    place, row = own[0]
    count = len(group.ranked_on)
    over = f"{count} data set{'s' * (count != 1)}"
    where = "the best" if place == 1 else f"number {place}"
    return f"{row['name']} is {where} of {len(group.ranks)} predictors on {over}, with a mean rank of {row['rank']:.2f}"


def verdicts(benchmark: Benchmark) -> list[tuple[str, str]]:
    """Return (group, sentence) for the groups with ranks."""
    return [(group.name, found) for group in benchmark.groups if (found := verdict(group))]
