"""The page of a benchmark: a self-contained ``report.html``, and its figures as PNG files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cellstate.report.benchmark.lines import Line, Table, left_out, mean_ranks, overview, predictors, verdicts
from cellstate.report.benchmark.reading import Benchmark, DataSet, Group, read
from cellstate.report.comparison.figures import slug
from cellstate.report.document import Picture, discard_others, page_link, pictures, write_page


@dataclass(frozen=True)
class Part:
    """What the page says of a group."""

    group: Group
    figures: list[Picture]
    overview: Table
    ranks: Table
    left_out: str
    tables: list[tuple[DataSet, Table]]


def write(folder: Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` into the folder of a benchmark, and return the page.

    Raises:
        RequestError: ``benchmark.json`` is invalid.
        RunError: the page cannot be written.
    """
    from cellstate.report.benchmark import figures  # which loads matplotlib

    benchmark = read(folder)
    drawn = pictures(figures.drawings(benchmark), folder)
    discard_others(folder, drawn)
    return write_page(
        "benchmark.html.jinja",
        folder / "report.html",
        benchmark=benchmark,
        verdicts=verdicts(benchmark),
        machine=machine(benchmark.content),
        parts=[part(benchmark, group, drawn) for group in benchmark.groups],
        open_runs=benchmark.open_runs,
        anchor=slug,
    )


def part(benchmark: Benchmark, group: Group, drawn: list[Picture]) -> Part:
    """Return what the page says of a group."""
    own = f"_{slug(group.name)}" if group.name else ""
    names = (f"relative{own}", f"ranks{own}")
    tables = [(dataset, linked(benchmark, dataset, predictors(dataset))) for dataset in group.datasets]
    ours = [picture for picture in drawn if picture.name in names]
    return Part(group, ours, overview(group), mean_ranks(group), left_out(group), tables)


def linked(benchmark: Benchmark, dataset: DataSet, table: Table) -> Table:
    """Return the table of a data set with a link from each method to the page of its first run that has one."""

    def with_link(line: Line) -> Line:
        row = dataset.method(line.name) if line.kind == "method" else None
        links = [] if row is None else [page_link(benchmark.folder, folder) for folder in row["folders"]]
        return replace(line, link=next(filter(None, links), ""))

    return replace(table, lines=[with_link(line) for line in table.lines])


def machine(content: Mapping[str, Any]) -> str:
    """Return the machine of the runs in words."""
    found, versions = content["machine"] or {}, content["versions"] or {}
    parts = [str(found[name]) for name in ("processor",) if name in found]
    parts += [
        f"{found[name]} {name[:-1] if found[name] == 1 else name}" for name in ("cores", "threads") if name in found
    ]
    parts += [content["device"]] if content["device"] not in (None, "cpu") else []
    parts += [f"{name} {versions[name]}" for name in ("cellstate", "torch") if name in versions]
    return ", ".join(parts)
