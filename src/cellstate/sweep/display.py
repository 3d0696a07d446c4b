"""What a sweep says of itself: a line a job and an overall bar while it runs, tables of all jobs and groups after."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich import box
from rich.console import Console
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

EVERY = 0.5  # seconds between two looks at what became of the jobs
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
MANY = 8  # items from which on a bar counts them
SHOWN = 2  # running jobs that a bar names


class Watch:
    """Prints a line for each job that ends, and a bar of all of them where stderr is a terminal.

    It looks at ``sweep.json``, which is written wherever the jobs run: in this process, in others, on other machines.

    Args:
        folder: the sweep's.
        keys: the jobs of this command.
        quiet: print nothing.
        bar: whether there may be a bar; where jobs show their own, two would fight for one place.
    """

    def __init__(self, folder: SweepFolder, keys: Sequence[str], *, quiet: bool, bar: bool) -> None:
        self._folder, self._keys, self._quiet = folder, set(keys), quiet
        self._console = Console(stderr=True, highlight=False)
        self._seen: dict[str, str] = {}  # the statuses at the last look
        self._ended: set[str] = set()  # jobs that ended, of which one may yet be gone on with
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._bar: Progress | None = None
        if bar and not quiet and self._console.is_terminal:
            counts = (TextColumn("jobs"), BarColumn(bar_width=10), MofNCompleteColumn(), Elapsed(), Remaining())
            now = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
            self._bar = Progress(*counts, now, console=self._console, transient=True, expand=True)

    def __enter__(self) -> Watch:
        """Say what is about to be done, and begin to look."""
        if self._quiet:
            return self
        rows = self._rows()
        self._seen = {row["key"]: row["status"] for row in rows if row["status"] == "completed"}
        self._ended = set(self._seen)
        already = f", {len(self._ended)} of them complete already" if self._ended else ""
        self._console.print(f"[bold]{len(rows)} job{'s' * (len(rows) != 1)}[/bold]{already}", soft_wrap=True)
        self._console.print(f"  -> {self._folder.path}", soft_wrap=True, markup=False)
        if self._bar:
            self._bar.add_task("", total=len(rows), completed=len(self._ended))
            self._bar.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Say what ended since the last look."""
        if self._quiet:
            return
        self._over.set()
        self._thread.join()
        self._look()
        if self._bar:
            self._bar.stop()

    def _run(self) -> None:
        while not self._over.wait(EVERY):
            try:
                self._look()
            except RequestError:  # the list cannot be read any more: the jobs will say so
                return

    def _rows(self) -> list[dict[str, Any]]:
        """Return the rows of this command's jobs, each with its number and its name in the sweep."""
        rows = self._folder.read()["jobs"]
        names = labels(rows)
        numbered = [{**row, "number": place, "name": names[place - 1]} for place, row in enumerate(rows, 1)]
        return [row for row in numbered if row["key"] in self._keys]

    def _look(self) -> None:
        rows = self._rows()
        for row in rows:
            before = self._seen.get(row["key"])
            self._seen[row["key"]] = row["status"]
            # What had ended when the command began is begun again: of that nothing is said until it ends anew.
            if row["status"] in ENDED and before != row["status"] and (before or row["status"] == "completed"):
                self._ended.add(row["key"])
                self._say(row, len(rows))
        if self._bar:
            now = running(
                [(row["name"], self._folder.path / row["folder"]) for row in rows if row["status"] == "running"]
            )
            self._bar.update(self._bar.task_ids[0], completed=len(self._ended), description=_plain(now))

    def _say(self, row: JobRow, total: int) -> None:
        line = f"{len(self._ended):{len(str(total))}}/{total}  job {row['number']}  {row['name']}  {outcome(row)}"
        self._console.print(line, soft_wrap=True, markup=False, style=STYLES[row["status"]] or None)


class Elapsed(TimeElapsedColumn):
    """The time since the bar began, with the word for it."""

    def render(self, task: Task) -> Text:
        """Return the time as text."""
        return super().render(task).append(" elapsed")


class Remaining(TimeRemainingColumn):
    """The time that is left if what is to come takes as long as what was, with the word for it; nothing until then."""

    def render(self, task: Task) -> Text:
        """Return the time as text."""
        return Text() if task.time_remaining is None else super().render(task).append(" left")


def running(jobs: Sequence[tuple[str, Path]]) -> str:
    """Return in words which jobs run and how far they are.

    Args:
        jobs: the names of those that run, with their run folders.
    """
    told = [f"{name or 'job'} (epoch {epochs(folder)})" for name, folder in jobs[:SHOWN]]
    more = f" and {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else ""
    return f"now {', '.join(told)}{more}" if told else ""


def epochs(folder: Path) -> str:
    """Return how many epochs a run has been through, and of how many, as far as its folder says."""
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
    """Yield items, with a bar of how many were yielded where stderr is a terminal: configs take a while to read."""
    console = Console(stderr=True, highlight=False)
    if quiet or not console.is_terminal or len(items) < MANY:
        yield from items
        return
    columns = (TextColumn(what), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield from bar.track(items)


def outcome(row: JobRow) -> str:
    """Return in a few words how a job ended."""
    if row["status"] == "pruned" and row["reason"]:
        return f"pruned {row['reason']}"
    if row["status"] != "completed":
        return row["status"] + (f": {row['reason']}" if row["reason"] else "")
    best, seconds = row["best"], (row["seconds"] or {}).get("fit")
    parts = [f"{best['monitor']} {number(best['value'])}" if best else "completed"]
    return "  ".join([*parts, f"{seconds:.1f} s"] if seconds is not None else parts)


def stopping() -> None:
    """Say that the sweep was told to stop."""
    Console(stderr=True).print("stopping: the running jobs are being saved; Ctrl-C once more does not wait")


def waiting(number: int) -> None:
    """Say that jobs are left which another command works on."""
    what = "job is" if number == 1 else "jobs are"
    line = f"{number} {what} still run by another command; waiting for it, Ctrl-C leaves"
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)


def conclude(folder: Path, content: Mapping[str, Any], keys: Collection[str]) -> None:
    """Print a table of all jobs of a sweep, one of its groups where they have several, and where everything lies.

    Args:
        folder: the sweep's.
        content: of ``sweep.json``.
        keys: the jobs of this command.
    """
    console = Console(highlight=False)
    for table in (job_table(content["jobs"]), group_table(content["groups"], content["jobs"])):
        if table is None:
            continue
        if not console.is_terminal:  # a file has room for whole lines
            console.width = max(console.width, Console(width=10_000).measure(table).maximum)
        console.print(table)
    counts = ", ".join(f"{number} {status}" for status, number in count(content["jobs"]).items())
    console.print(f"Sweep:    {folder}  ({counts})", soft_wrap=True, markup=False)
    console.print("          sweep.json, sweep.csv (all jobs), groups.csv (means over seeds)", soft_wrap=True)
    own = [row for row in content["jobs"] if row["key"] in keys]
    others = count([row for row in content["jobs"] if row["key"] not in keys and row["status"] != "completed"])
    if others and all(row["status"] == "completed" for row in own):
        said = ", ".join(f"{number} {status}" for status, number in others.items())
        console.print(f"          this command: {len(own)} completed; earlier ones: {said}", soft_wrap=True)


def job_table(rows: Sequence[JobRow]) -> Table:
    """Return a row a job; of those that are not complete it says why."""
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
        table.add_row(*map(_plain, line), style=STYLES[row["status"]])
    return table


def group_table(groups: Sequence[JobRow], rows: Sequence[JobRow]) -> Table | None:
    """Return a row for all repetitions of an experiment: means with 95 % intervals; None where nothing repeats."""
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
        cells = [_interval(group[split].get(metric)) for metric in metrics]
        missing = _missing(group["missing"])
        table.add_row(*map(_plain, [name or "all", str(group["n"]), *cells, *([missing] if missing else [])]))
    return table


def _missing(repeats: Sequence[JobRow]) -> str:
    """Return ``seed=3,4``, or each repetition by itself where it is known by several keys."""
    (key,) = one if len(one := {key for repeat in repeats for key in repeat}) == 1 else (None,)
    if key is not None:
        return f"{key}={','.join(shown(repeat[key]) for repeat in repeats)}"
    return ", ".join(label(repeat) for repeat in repeats)


def _interval(summary: JobRow | None) -> str:
    if summary is None:
        return ""
    if summary["low"] is None:
        return number(summary["mean"])
    mean, half = number(summary["mean"]), (summary["high"] - summary["low"]) / 2
    if "e" in mean:
        return f"{mean} ± {number(half)}"
    return f"{mean} ± {half:,.{len(mean.partition('.')[2])}f}"  # to as many places as the mean


def _shown(rows: Sequence[JobRow]) -> tuple[str, list[str]]:
    """Return the split that tables show, the test split where there is one, and its metrics."""
    split = "test" if any(row["test"] for row in rows) else "val"
    values = {name: value for row in rows for name, value in row[split].items()}
    return split, shown_metrics(values)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")  # square brackets are rich's


# ---------------------------------------------------------------------- what the command ends with


def failures(everything: Sequence[JobRow], rows: Sequence[JobRow], trouble: Exception | None) -> Exception | None:
    """Return one error for all jobs of a command that are not complete; None where all are.

    Args:
        everything: the rows of the sweep, by whose places jobs are numbered.
        rows: those of the command.
        trouble: what went wrong beside the jobs, with the launcher or the files of the sweep, if anything did.
    """
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
        problems.append(f"{left} of {len(rows)} jobs are not finished; the same command goes on with them")
    if not problems:
        return None
    refused = all(row["failure"] and row["failure"]["exit_status"] == RequestError.exit_status for row in failed)
    return RequestError(*problems) if refused and not left and trouble is None else RunError(*problems)


def troubles(trouble: Exception | None) -> list[str]:
    """Return the lines of what went wrong beside the jobs."""
    if trouble is None or isinstance(trouble, CellstateError):
        return list(trouble.problems) if trouble else []
    first = (str(trouble).splitlines() or [""])[0]
    kind = "" if type(trouble) is RuntimeError and first else f"{type(trouble).__name__}: "  # which says nothing
    return [f"the launcher failed ({kind}{first})"]


def interrupted(rows: Sequence[JobRow]) -> str:
    """Return what to say of a sweep that was stopped."""
    done = sum(row["status"] == "completed" for row in rows)
    begun = sum(row["status"] == "interrupted" for row in rows)
    theirs = sum(row["status"] == "running" for row in rows)
    also = (f", {begun} begun" if begun else "") + (f", {theirs} still run by another command" if theirs else "")
    return f"interrupted with {done} of {len(rows)} jobs complete{also}; the same command goes on"
