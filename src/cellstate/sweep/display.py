"""Output of a sweep: a line per job and an overall bar while it runs, tables of all jobs and groups at the end."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from cellstate.config.check import shown
from cellstate.errors import CellstateError, RequestError, RunError
from cellstate.metrics.display import number, shown_metrics
from cellstate.sweep.folder import SweepFolder, count
from cellstate.sweep.naming import differing, label, labels

if TYPE_CHECKING:
    from cellstate.report.sweep.reading import JobRow

EVERY = 0.5  # seconds between two updates
ENDED = ("completed", "pruned", "failed", "interrupted")
STYLES = {
    "completed": "",
    "pruned": "dim",
    "running": "cyan",
    "interrupted": "yellow",
    "failed": "red",
    "pending": "dim",
}

Item = TypeVar("Item")
MANY = 8  # fewest items for which a bar is shown
SHOWN = 2  # running jobs listed in the bar


class Watch:
    """Prints a line for each finished job, and an overall bar if stderr is a terminal.

    It polls ``sweep.json``, which is updated wherever the jobs run: in this process, in others, on other machines.

    Args:
        folder: of the sweep.
        keys: the jobs of this command.
        quiet: print nothing.
        bar: whether to show a bar; not if jobs show their own.
    """

    def __init__(self, folder: SweepFolder, keys: Sequence[str], *, quiet: bool, bar: bool) -> None:
        self._folder, self._keys, self._quiet = folder, set(keys), quiet
        self._console = Console(stderr=True, highlight=False)
        self._seen: dict[str, str] = {}  # statuses at the last update
        self._ended: set[str] = set()  # finished jobs, of which one may still be resumed
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._bar: Progress | None = None
        if bar and not quiet and self._console.is_terminal:
            counts = (TextColumn("jobs"), BarColumn(bar_width=10), MofNCompleteColumn(), Elapsed(), Remaining())
            now = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
            self._bar = Progress(*counts, now, console=self._console, transient=True, expand=True)

    def __enter__(self) -> Watch:
        """Print the number of jobs, and start polling."""
        if self._quiet:
            return self
        rows = self._rows()
        self._seen = {row["key"]: row["status"] for row in rows if row["status"] == "completed"}
        self._ended = set(self._seen)
        already = f", {len(self._ended)} already complete" if self._ended else ""
        self._console.print(f"[bold]{len(rows)} job{'s' * (len(rows) != 1)}[/bold]{already}", soft_wrap=True)
        self._console.print(f"  -> {self._folder.path}", soft_wrap=True, markup=False)
        if self._bar:
            self._bar.add_task("", total=len(rows), completed=len(self._ended))
            self._bar.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Print the jobs that finished since the last update."""
        if self._quiet:
            return
        self._over.set()
        self._thread.join()
        self._update()
        if self._bar:
            self._bar.stop()

    def _run(self) -> None:
        while not self._over.wait(EVERY):
            try:
                self._update()
            except RequestError:  # sweep.json cannot be read any more, which the jobs report
                return

    def _rows(self) -> list[dict[str, Any]]:
        """Return the rows of this command's jobs, with their numbers and names in the sweep."""
        rows = self._folder.read()["jobs"]
        names = labels(rows)
        numbered = [{**row, "number": place, "name": names[place - 1]} for place, row in enumerate(rows, 1)]
        return [row for row in numbered if row["key"] in self._keys]

    def _update(self) -> None:
        rows = self._rows()
        for row in rows:
            before = self._seen.get(row["key"])
            self._seen[row["key"]] = row["status"]
            # Jobs that failed in an earlier command are started again, and printed only when they finish again.
            if row["status"] in ENDED and before != row["status"] and (before or row["status"] == "completed"):
                self._ended.add(row["key"])
                self._print(row, len(rows))
        if self._bar:
            jobs = [(row["name"], self._folder.path / row["folder"]) for row in rows if row["status"] == "running"]
            self._bar.update(self._bar.task_ids[0], completed=len(self._ended), description=escape(running(jobs)))

    def _print(self, row: JobRow, total: int) -> None:
        line = f"{len(self._ended):{len(str(total))}}/{total}  job {row['number']}  {row['name']}  {outcome(row)}"
        self._console.print(line, soft_wrap=True, markup=False, style=STYLES[row["status"]] or None)


class Elapsed(TimeElapsedColumn):
    """The elapsed time, with a label."""

    def render(self, task: Task) -> Text:
        """Return the time as text."""
        return super().render(task).append(" elapsed")


class Remaining(TimeRemainingColumn):
    """The estimated remaining time, with a label; empty while unknown."""

    def render(self, task: Task) -> Text:
        """Return the time as text."""
        return Text() if task.time_remaining is None else super().render(task).append(" left")


def running(jobs: Sequence[tuple[str, Path]]) -> str:
    """Return the names of running jobs with their progress."""
    listed = [f"{name or 'job'} (epoch {epochs(folder)})" for name, folder in jobs[:SHOWN]]
    more = f" and {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else ""
    return f"now {', '.join(listed)}{more}" if listed else ""


def epochs(folder: Path) -> str:
    """Return the number of finished epochs of a run, and of all its epochs if known."""
    try:
        done = len((folder / "metrics.csv").read_text().splitlines()) - 1
    except OSError:
        done = 0
    try:
        most = re.search(r"^  max_epochs: (\d+)$", (folder / "config.yaml").read_text(), re.MULTILINE)
    except OSError:
        most = None
    return f"{max(0, done)}/{most[1]}" if most else str(max(0, done))


def counted(items: Sequence[Item], what: str, *, quiet: bool) -> Iterator[Item]:
    """Yield items, with a progress bar if stderr is a terminal, as composing configs takes a while."""
    console = Console(stderr=True, highlight=False)
    if quiet or not console.is_terminal or len(items) < MANY:
        yield from items
        return
    columns = (TextColumn(what), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield from bar.track(items)


def outcome(row: JobRow) -> str:
    """Return a short description of a job's result."""
    if row["status"] == "pruned" and row["reason"]:
        return f"pruned {row['reason']}"
    if row["status"] != "completed":
        return row["status"] + (f": {row['reason']}" if row["reason"] else "")
    best, seconds = row["best"], (row["seconds"] or {}).get("fit")
    parts = [f"{best['monitor']} {number(best['value'])}" if best else "completed"]
    return "  ".join([*parts, f"{seconds:.1f} s"] if seconds is not None else parts)


def print_stopping() -> None:
    """Print that the sweep is stopping."""
    Console(stderr=True).print("stopping: the running jobs are being saved; press Ctrl-C again to quit without waiting")


def print_waiting(number: int) -> None:
    """Print that another command is running some of the jobs."""
    what = "job is" if number == 1 else "jobs are"
    line = f"{number} {what} still running in another command; waiting for it, press Ctrl-C to quit"
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)


def print_results(folder: Path, content: Mapping[str, Any], keys: Collection[str]) -> None:
    """Print a table of all jobs of a sweep, one of its groups if jobs are repeated, and the paths of its files."""
    console = Console(highlight=False)
    for table in (job_table(content["jobs"]), group_table(content["groups"], content["jobs"])):
        if table is not None:
            print_table(console, table)
    counts = ", ".join(f"{number} {status}" for status, number in count(content["jobs"]).items())
    console.print(f"Sweep:    {folder}  ({counts})", soft_wrap=True, markup=False)
    console.print("          sweep.json, sweep.csv (all jobs), groups.csv (means over seeds)", soft_wrap=True)
    own = [row for row in content["jobs"] if row["key"] in keys]
    others = count([row for row in content["jobs"] if row["key"] not in keys and row["status"] != "completed"])
    if others and all(row["status"] == "completed" for row in own):
        counts = ", ".join(f"{number} {status}" for status, number in others.items())
        console.print(f"          this command: {len(own)} completed; earlier commands: {counts}", soft_wrap=True)


def print_table(console: Console, table: Table) -> None:
    """Print a table, in a file without wrapping."""
    if not console.is_terminal:
        console.width = max(console.width, Console(width=10_000).measure(table).maximum)
    console.print(table)


def job_table(rows: Sequence[JobRow]) -> Table:
    """Return a table with a row for each job, with the reason for those that are not complete."""
    split, metrics = _shown([row for row in rows if row["status"] == "completed"])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("job", overflow="fold")
    for metric in metrics:
        table.add_column(f"{split} {metric}", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("status", overflow="fold")
    for place, (row, name) in enumerate(zip(rows, labels(rows), strict=True), 1):
        cells = [number(row[split].get(metric)) for metric in metrics]
        seconds = (row["seconds"] or {}).get("fit")
        status = row["status"] if row["status"] == "completed" else outcome(row)
        line = [str(place), name, *cells, "" if seconds is None else f"{seconds:.1f}", status]
        table.add_row(*map(escape, line), style=STYLES[row["status"]])
    return table


def group_table(groups: Sequence[JobRow], rows: Sequence[JobRow]) -> Table | None:
    """Return a table with a row for each group: means with 95 % intervals; None without repetitions."""
    if len(groups) == len(rows) or not any(group["n"] for group in groups):
        return None
    split, metrics = _shown([row for row in rows if row["status"] == "completed"])
    repeats = sorted({key for row in rows for key in row["repeat"] if key in row["overrides"]})
    title = f"means over {' and '.join(repeats)}, ± half of the 95 % interval"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("group", overflow="fold")
    table.add_column("n", justify="right")
    for metric in metrics:
        table.add_column(f"{split} {metric}", justify="right")
    if any(group["missing"] for group in groups):
        table.add_column("missing", overflow="fold")
    varying = differing([group["overrides"] for group in groups])
    for group in groups:
        name = label({key: value for key, value in group["overrides"].items() if key in varying and len(groups) > 1})
        cells = [interval(group[split].get(metric)) for metric in metrics]
        missing = _missing(group["missing"])
        table.add_row(*map(escape, [name or "all", str(group["n"]), *cells, *([missing] if missing else [])]))
    return table


def _missing(repeats: Sequence[JobRow]) -> str:
    """Return ``seed=3,4``, or a list of the repetitions if they have several keys."""
    (key,) = one if len(one := {key for repeat in repeats for key in repeat}) == 1 else (None,)
    if key is not None:
        return f"{key}={','.join(shown(repeat[key]) for repeat in repeats)}"
    return ", ".join(label(repeat) for repeat in repeats)


def interval(summary: JobRow | None) -> str:
    """Return a mean with the half-width of its interval, if known; empty without scores."""
    if summary is None:
        return ""
    if summary["low"] is None:
        return number(summary["mean"])
    mean, half = number(summary["mean"]), (summary["high"] - summary["low"]) / 2
    if "e" in mean:
        return f"{mean} ± {number(half)}"
    return f"{mean} ± {half:,.{len(mean.partition('.')[2])}f}"  # to as many decimals as the mean


def _shown(rows: Sequence[JobRow]) -> tuple[str, list[str]]:
    """Return the split that tables show, the test split if it was scored, and its metrics."""
    split = "test" if any(row["test"] for row in rows) else "val"
    values = {name: value for row in rows for name, value in row[split].items()}
    return split, shown_metrics(values)


# ---------------------------------------------------------------------- failures


def failures(everything: Sequence[JobRow], rows: Sequence[JobRow], trouble: Exception | None) -> Exception | None:
    """Return one error for all jobs of a command that are not complete; None if all are."""
    failed = [row for row in rows if row["status"] == "failed"]
    names = dict(zip((row["key"] for row in everything), labels(everything), strict=True))
    places = {row["key"]: place for place, row in enumerate(everything, 1)}
    problems = []
    for row in failed:
        lines = row["failure"]["problems"] if row["failure"] else [row["reason"]]
        problems += [f"job {places[row['key']]} ({names[row['key']]}): {line}" for line in lines]
    left = sum(row["status"] not in ("completed", "failed") for row in rows)
    problems += troubles(trouble)
    if left:
        problems.append(f"{left} of {len(rows)} jobs are not finished; repeat the command to resume them")
    if not problems:
        return None
    rejected = all(row["failure"] and row["failure"]["exit_status"] == RequestError.exit_status for row in failed)
    return RequestError(*problems) if rejected and not left and trouble is None else RunError(*problems)


def troubles(trouble: Exception | None) -> list[str]:
    """Return the lines of a failure of the launcher or of the sweep's files."""
    if trouble is None or isinstance(trouble, CellstateError):
        return list(trouble.problems) if trouble else []
    first = (str(trouble).splitlines() or [""])[0]
    kind = "" if type(trouble) is RuntimeError and first else f"{type(trouble).__name__}: "  # an uninformative name
    return [f"the launcher failed ({kind}{first})"]


def interrupted(rows: Sequence[JobRow]) -> str:
    """Return the message for a sweep that was stopped."""
    done = sum(row["status"] == "completed" for row in rows)
    started = sum(row["status"] == "interrupted" for row in rows)
    theirs = sum(row["status"] == "running" for row in rows)
    also = (f", {started} started" if started else "") + (f", {theirs} running in another command" if theirs else "")
    return f"interrupted with {done} of {len(rows)} jobs complete{also}; repeat the command to resume"
