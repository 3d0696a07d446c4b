"""The files of a benchmark beside its page: ``benchmark.json``, ``results.csv`` and ``results.md``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cellstate.report.benchmark.lines import Line, Table, left_out, mean_ranks, overview, predictors
from cellstate.report.benchmark.reading import FILE, Benchmark
from cellstate.runs.writing import write_whole
from cellstate.sweep.tables import write_table

CAPTION = (
    "Scores on the test split: means over seeds, ± half-width of the 95 % interval (Student's t); best in bold. "
    "Seconds: fit, training alone; whole, the process from start to end."
)


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write all three.

    Raises:
        RunError: a file cannot be written.
    """
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_whole(folder / FILE, lambda draft: draft.write_text(text, encoding="utf-8"))
    metrics = {dataset["name"]: dataset["metric"] for dataset in content["datasets"]}
    write_table(folder / "results.csv", [dict(run_cells(run, metrics[run["dataset"]])) for run in content["runs"]])
    page = markdown(Benchmark(folder, content))
    write_whole(folder / "results.md", lambda draft: draft.write_text(page, encoding="utf-8"))


def run_cells(run: Mapping[str, Any], metric: str) -> Iterator[tuple[str, Any]]:
    """Yield the cells of a run in ``results.csv``."""
    yield from ((name, run[name]) for name in ("dataset", "method", "seed", "status"))
    yield "metric", metric
    yield "score", run["test"].get(metric)
    yield from ((name, run[name]) for name in ("parameters", "epochs", "steps"))
    yield from ((f"seconds {name}", value) for name, value in run["seconds"].items())
    yield "memory MiB", run["memory"]
    yield "resumed", run["resumed"]
    yield "folder", run["folder"]
    yield "reason", run["reason"]
    yield from ((f"test/{name}", value) for name, value in run["test"].items())


# ---------------------------------------------------------------------- results.md


def markdown(benchmark: Benchmark) -> str:
    """Return all tables as Markdown."""
    return "\n\n".join([f"# {escaped(benchmark.content['name'])}", *sections(benchmark), CAPTION]) + "\n"


def sections(benchmark: Benchmark) -> Iterator[str]:
    """Yield headings, tables and remarks."""
    for group in benchmark.groups:
        if group.name:
            yield f"## {escaped(group.name)}"
        yield grid(overview(group))
        if len(group.ranks) > 1:
            yield grid(mean_ranks(group))
        if note := left_out(group):
            yield escaped(note)
        for dataset in group.datasets:
            yield f"### {escaped(dataset.name)}"
            yield grid(predictors(dataset))


def grid(table: Table) -> str:
    """Return a table as Markdown."""
    head = [f"| {' | '.join(map(escaped, table.columns))} |", f"|{'---|' * len(table.columns)}"]
    return "\n".join([*head, *(row(line) for line in table.lines)])


def row(line: Line) -> str:
    """Return a row as Markdown, what is best in bold, optima in italics."""
    name = escaped(line.name) + (f" ({escaped(line.note)})" if line.note else "")
    cells = [f"**{escaped(cell.whole)}**" if cell.best and cell.text else escaped(cell.whole) for cell in line.cells]
    return f"| {' | '.join([f'*{name}*' if line.kind == 'optimum' else name, *cells])} |"


def escaped(text: str) -> str:
    """Return a text with the characters escaped that Markdown would interpret."""
    for sign in "\\|*_`[]<>#":
        text = text.replace(sign, f"\\{sign}")
    return text
