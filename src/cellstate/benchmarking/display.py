"""Output of a benchmark: a line for each run with what is left, and the tables at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from cellstate.benchmarking.plan import Job
from cellstate.callbacks.pace import clock_time
from cellstate.metrics.display import number
from cellstate.report.benchmark import lines
from cellstate.report.benchmark.reading import Benchmark
from cellstate.runs.folder import shortest
from cellstate.sweep.display import print_table

STYLES = {"optimum": "green", "reference": "dim", "published": "dim"}


class Progress:
    """Prints a line for each run that ends.

    Args:
        total: number of runs.
        quiet: print nothing.
    """

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total, self._quiet = total, quiet
        self._console = Console(stderr=True, highlight=False)
        self._waiting: list[Job] = []
        self._taken: dict[Job, float] = {}  # seconds of the runs of this command
        self._began = time.monotonic()

    def begin(self, folder: Path, chosen: Sequence[Job], waiting: Sequence[Job]) -> None:
        """Print the number of runs."""
        self._waiting, self._began = list(waiting), time.monotonic()
        absent = sum(bool(job.absent) for job in chosen if job not in waiting)
        done = len(chosen) - len(waiting) - absent
        parts = [f"{len(chosen)} run{'s' * (len(chosen) != 1)}"]
        parts += [f"{done} already complete"] * bool(done) + [f"{absent} without files"] * bool(absent)
        self._print(", ".join(parts))
        self._print(f"  -> {shortest(folder)}")

    def ended(self, job: Job, content: Mapping[str, Any]) -> None:
        """Print how a run ended, and how much time the others may take."""
        now = time.monotonic()
        self._taken[job], self._began = now - self._began, now
        self._waiting.remove(job)
        run = next(
            run
            for run in content["runs"]
            if (run["dataset"], run["method"], run["seed"]) == (job.dataset, job.method, job.seed)
        )
        metric = next(dataset["metric"] for dataset in content["datasets"] if dataset["name"] == job.dataset)
        left = len(self._waiting)
        remaining = f"; {left} left, about {clock_time(self.remaining())}" if left else ""
        done = len(self._taken)
        place = f"{done:{len(str(done + left))}}/{done + left}"
        self._print(f"{place}  {job.name}  {result(run, metric)}{remaining}")

    def remaining(self) -> float:
        """Return the estimated seconds of the runs that are left, from those of the runs most like them."""
        return sum(self._estimate(job) for job in self._waiting)

    def _estimate(self, job: Job) -> float:
        for alike in (("dataset", "method"), ("dataset",), ()):
            found = [
                seconds
                for other, seconds in self._taken.items()
                if all(getattr(other, name) == getattr(job, name) for name in alike)
            ]
            if found:
                return sum(found) / len(found)
        return 0.0

    def _print(self, line: str) -> None:
        if not self._quiet:
            self._console.print(line, soft_wrap=True, markup=False)


def result(run: Mapping[str, Any], metric: str) -> str:
    """Return how a run ended, in a few words."""
    if run["status"] != "complete":
        return f"{run['status']}: {run['reason']}; log: {run['log']}"
    taken = run["seconds"]["whole"]
    score = f"{metric} {number(run['test'].get(metric)) or 'not measured'}"
    return score if taken is None else f"{score} in {lines.seconds(taken)} s"


def print_results(folder: Path, content: Mapping[str, Any]) -> None:
    """Print the tables, and the paths of the files."""
    console = Console(highlight=False)
    for group in Benchmark(folder, content).groups:
        if group.name:
            console.print(f"[bold]{escape(group.name)}[/bold]", soft_wrap=True)
        print_table(console, as_rich(lines.overview(group)))
        if len(group.ranks) > 1:
            print_table(console, as_rich(lines.mean_ranks(group)))
        for sentence in filter(None, (lines.verdict(group), lines.left_out(group))):
            console.print(f"  {sentence.rstrip('.')}.", soft_wrap=True, markup=False)
        console.print()
    console.print(f"Benchmark:  {folder}", soft_wrap=True, markup=False)
    console.print("            report.html, results.md, results.csv (all runs), benchmark.json", soft_wrap=True)


def as_rich(table: lines.Table) -> RichTable:
    """Return a table for the terminal, what is best in bold."""
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column(escape(table.columns[0]), overflow="fold")
    for name in table.columns[1:]:
        shown.add_column(escape(name), justify="right")
    for line in table.lines:
        name = escape(f"{line.name} ({line.note})" if line.note else line.name)
        cells = [f"[bold]{escape(cell.whole)}[/bold]" if cell.best else escape(cell.whole) for cell in line.cells]
        shown.add_row(name, *cells, style=STYLES.get(line.kind))
    return shown
