"""Output of a search: a line per trial while it runs, the best trials and parameters at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cellstate.config.check import shown
from cellstate.metrics.display import number
from cellstate.sweep.display import print_table
from cellstate.sweep.search.study import Study, Trial

LISTED = 10  # trials of the table
STYLES = {"complete": "", "pruned": "dim", "failed": "red", "running": "cyan"}


class Screen:
    """Prints the results of trials on stderr, on a terminal with a progress bar."""

    def __init__(self, total: int, *, quiet: bool, bar: bool) -> None:
        self._quiet, self._total = quiet, total
        self._console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        if bar and not quiet and self._console.is_terminal:
            columns = (TextColumn("trials"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._bar.add_task("", total=total)

    def __enter__(self) -> Screen:
        """Show the bar."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()

    def print(self, line: str, *, style: str | None = None) -> None:
        """Print a line."""
        if not self._quiet:
            self._console.print(line, soft_wrap=True, markup=False, style=style)

    def ended(
        self, study: Study, trial: Trial, finished: int, *, best: bool, seconds: float | None, ran: int | None = None
    ) -> None:
        """Print the result of a trial."""
        place = f"{finished:{len(str(self._total))}}/{self._total}"
        parts = [place, name_of(study, trial), format_params(trial.params), outcome(study, trial)]
        if ran is not None:
            parts += [f"result of trial {ran}"]
        elif seconds is not None and trial.state == "complete":
            parts += [f"{seconds:.1f} s"]
        parts += ["best so far"] if best else []
        self.print("  ".join(part for part in parts if part), style=STYLES[trial.state] or None)
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=finished)


def name_of(study: Study, trial: Trial) -> str:
    """Return the name of a trial."""
    return f"{study.part.label}, trial {trial.number}" if study.part.label else f"trial {trial.number}"


def failed(trials: Sequence[tuple[Study, Trial]]) -> list[str]:
    """Return a line for each reason of failure, with the number of trials and the first of them."""
    by_reason: dict[str | None, list[tuple[Study, Trial]]] = {}
    for study, trial in trials:
        by_reason.setdefault(trial.reason, []).append((study, trial))
    lines = []
    for reason, alike in by_reason.items():
        study, trial = alike[0]
        first = f"{name_of(study, trial)} ({format_params(trial.params)})"
        lines.append(f"{first}: {reason}" if len(alike) == 1 else f"{len(alike)} trials, first {first}: {reason}")
    return lines


def titled(study: Study, title: str) -> str:
    """Return the title of a table of a study."""
    return f"{study.part.label}: {title}" if study.part.label else title


def format_params(params: Mapping[str, Any]) -> str:
    """Return parameters as ``name=value``, with short names."""
    names = short_names(params)
    return " ".join(f"{names[key]}={brief(value)}" for key, value in params.items())


def short_names(keys: Any) -> dict[str, str]:
    """Return key -> its last part if unique, else the key."""
    lasts = [key.rpartition(".")[2] for key in keys]
    return {key: last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)}


def brief(value: Any) -> str:
    """Return a value as text, sampled numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, float) and len(repr(value)) > 7 else shown(value)


def outcome(study: Study, trial: Trial) -> str:
    """Return a short description of a trial's result."""
    if trial.state == "complete":
        return "  ".join(f"{name} {number(value)}" for name, value in scores(study, trial))
    if trial.state == "pruned":
        return f"pruned {trial.reason or ''}".rstrip()
    return trial.state + (f": {trial.reason}" if trial.reason else "")


def scores(study: Study, trial: Trial) -> list[tuple[str, float]]:
    """Return the objectives of a trial with their values."""
    return list(zip(study.settings.objectives, trial.values or (), strict=False))


def print_results(folder: Path, studies: Sequence[Study], chosen: Sequence[str], extra: Sequence[Table] = ()) -> None:
    """Print the best trials, the best parameters, and the paths of the files."""
    console = Console(highlight=False)
    for table in (*extra, trial_table(studies[-1]), best_table(studies[-1])):
        if table is not None:
            print_table(console, table)
    counts = [f"{number} {state}" for state, number in count(studies).items() if number]
    console.print(f"Search:   {folder}  ({', '.join(counts) or 'no trials yet'})", soft_wrap=True, markup=False)
    console.print("          sweep.json, trials.csv (all trials), sweep.csv (their jobs)", soft_wrap=True)
    for name in chosen[:1]:
        words = f"cellstate train --config-dir {folder} experiment={name}"
        console.print(f"          {words}", soft_wrap=True, markup=False)


def count(studies: Sequence[Study]) -> dict[str, int]:
    """Return the number of trials in each state."""
    states = [trial.state for study in studies for trial in study.trials()]
    return {state: states.count(state) for state in STYLES}


def trial_table(study: Study) -> Table | None:
    """Return a table of the best trials, or of the Pareto front; None if no trial is complete."""
    several = len(study.settings.objectives) > 1
    ranked = study.front() if several else study.ranked()
    if not ranked:
        return None
    keys = list(dict.fromkeys(key for trial in ranked for key in trial.params))
    title = "Pareto-optimal trials" if several else f"best of {len(study.trials())} trials"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=titled(study, title), title_justify="left")
    table.add_column("trial", justify="right")
    names = short_names(keys)
    for key in keys:
        table.add_column(names[key], justify="right", overflow="fold")
    for objective in study.settings.objectives:
        table.add_column(objective, justify="right")
    for trial in ranked[:LISTED]:
        params = [brief(trial.params[key]) if key in trial.params else "" for key in keys]
        values = [number(value) for value in trial.values or ()]
        table.add_row(str(trial.number), *map(escape, params), *values)
    return table


def best_table(study: Study) -> Table | None:
    """Return a table of the best trial's parameters; None if no trial is complete."""
    ranked = study.ranked()
    if not ranked:
        return None
    title = titled(study, f"best parameters: trial {ranked[0].number}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("parameter")
    table.add_column("value", justify="right", overflow="fold")
    for key, value in ranked[0].params.items():
        table.add_row(key, escape(shown(value)))
    return table
