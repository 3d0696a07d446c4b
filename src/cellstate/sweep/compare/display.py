"""Output of a comparison: tables of results, with optimum and baselines, and of differences for each condition."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cellstate.metrics.display import number
from cellstate.metrics.predictors import OPTIMA, bounds, spoken
from cellstate.metrics.table import rank
from cellstate.sweep.display import interval, print_table
from cellstate.sweep.naming import label

MATCHED = {"parameters": "equal parameters", "time": "equal time", None: "as configured"}


def print_results(folder: Path, content: Mapping[str, Any], page: Path) -> None:
    """Print the results under each condition, and the paths of the files."""
    console = Console(highlight=False)
    for condition in content["conditions"]:
        tables = (result_table, difference_table, generalisation_table)
        for title, table in (make(condition, content) for make in tables):
            if table.row_count:
                console.print(title, soft_wrap=True, markup=False)
                print_table(console, table)
        for line in condition["verdict"]:
            console.print(f"  {line}", soft_wrap=True, markup=False)
        console.print()
    console.print(f"Comparison:  {folder}", soft_wrap=True, markup=False)
    console.print(f"             {page.name}, comparison.json, comparison.csv, sweep.csv (all runs)", soft_wrap=True)


def result_table(condition: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Table]:
    """Return a title and a table with a row for each variant, the optimum and each baseline, best first."""
    metric = condition["metric"]
    given = list(dict.fromkeys(key for variant in condition["variants"] for key in variant["given"]))
    where = f"{label(condition['overrides'])}: " if condition["overrides"] else ""
    title = f"{where}{MATCHED[content['match']]}, mean ± half of the 95 % interval"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold")
    table.add_column(f"{content['split']} {metric}", justify="right")
    for name in ("n", *(key.rpartition(".")[2] for key in given), "parameters", "state", "seconds"):
        table.add_column(name, justify="right")
    rows = []
    for variant in condition["variants"]:
        score, seconds = variant["score"], variant["seconds"]
        cells = [variant["name"], interval(score), str(score["n"] if score else 0)]
        cells += [str(variant["given"].get(key, "")) for key in given]
        cells += [f"{variant['parameters']:,}", f"{variant['state']:,}"]
        cells += [f"{seconds['mean']:.1f}" if seconds else ""]
        rows.append((rank(metric, score["mean"] if score else None), cells, None))
    for name, value in condition["reference"].items():
        style = "green" if name in OPTIMA else "dim"
        rows.append((rank(metric, value), [spoken(name), number(value)], style))
    for _, cells, style in sorted(rows, key=lambda row: row[0]):
        table.add_row(*map(escape, cells), style=style)
    return title, table


def difference_table(condition: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Table]:
    """Return a title and a table with a row for each pair of variants."""
    title = (
        f"paired differences over equal seeds, with the {100 * content['level']:.0f} % interval of the paired bootstrap"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in ("difference", "interval", "p", "n"):
        table.add_column(name, justify="right")
    for row in condition["differences"]:
        ends = "" if row["low"] is None else f"{number(row['low'])} to {number(row['high'])}"
        p = "< 0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"
        cells = (f"{row['one']} - {row['other']}", number(row["mean"]), ends, p, str(row["n"]))
        table.add_row(*map(escape, cells), style=None if row["shown"] else "dim")
    return title, table


def generalisation_table(condition: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, Table]:
    """Return a title and a table of the scores of the same networks on data of other sizes, a column for each."""
    points, (key, _) = condition["generalisation"], next(iter(content["generalise"].items()), ("", []))
    metric = condition["metric"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(key, overflow="fold")
    for point in points:
        table.add_column(f"{point['overrides'][key]:g}", justify="right")
    if points:
        for place, variant in enumerate(condition["variants"]):
            table.add_row(variant["name"], *(interval(point["variants"][place]["score"]) for point in points))
        for name in bounds(metric, condition["reference"]):
            cells = [number(point["reference"][name]) if name in point["reference"] else "" for point in points]
            table.add_row(spoken(name), *cells, style="green" if name in OPTIMA else "dim")
    return f"the same networks, val {metric} with other {key}", table
