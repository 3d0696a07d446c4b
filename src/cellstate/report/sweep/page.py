"""The page of a sweep: a self-contained ``report.html``, and its figures as PNG files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellstate.errors import RequestError
from cellstate.metrics.headline import Headline
from cellstate.metrics.predictors import OPTIMA, spoken
from cellstate.metrics.table import rank
from cellstate.report.configuration import choices, command_line
from cellstate.report.document import discard_others, page_link, pictures, write_page
from cellstate.report.headlines import headline_of
from cellstate.report.sweep import searching
from cellstate.report.sweep.reading import JobRow, Sweep, brief, read, read_list
from cellstate.runs.yaml_file import read_yaml

LISTED = 12  # values of a parameter that are listed


def write(folder: Path, *, metric: str | None = None) -> Path:
    """Write ``report.html`` and ``figures/*.png`` into the folder of a sweep, and return the page.

    Jobs are ranked by ``metric``, such as ``val/loss``; None: by the main metric of the task.

    Raises:
        RequestError: ``sweep.json`` is invalid, or the jobs do not have the metric.
        RunError: the page cannot be written.
    """
    from cellstate.report.sweep import board, curves, effects, importance, parallel, tradeoffs  # these load matplotlib

    headline = headline_of_jobs(folder)
    sweep = read(folder, metric, headline.metric if headline else None)
    label = headline.label if headline and sweep.metric == headline.metric else sweep.metric.replace("_", " ")
    important = importance.importances(sweep)
    search = sweep.content.get("search")
    config = config_of(folder / sweep.scored[0].done[0]["folder"]) if sweep.scored else {}
    shown_figures = {
        "ranking": pictures(board.drawing(sweep, label), folder),
        "mattered": pictures(
            [
                *parallel.drawing(sweep, label, important),
                *importance.drawing(sweep, important),
                *effects.drawing(sweep, label, important),
            ],
            folder,
        ),
        "learned": pictures(curves.drawings(sweep, label), folder),
        "costs": pictures(tradeoffs.drawings(sweep, label), folder),
    }
    discard_others(folder, [picture for part in shown_figures.values() for picture in part])
    return write_page(
        "sweep.html.jinja",
        folder / "report.html",
        sweep=sweep,
        label=label,
        best=sweep.scored[0] if sweep.scored else None,
        verdict=verdict(sweep),
        commands=[command_line({"command": command}) for command in sweep.content.get("commands", ())],
        varied=[] if search else varied(sweep),
        search=search,
        searched=searching.facts(search) if search else [],
        trials=searching.tables(search, board.LISTED, sweep.short) if search else [],
        choices=choices(config, [f"{key}=" for key in sweep.keys]),
        metrics=board.columns(sweep),
        lines=board.lines(sweep),
        listed=board.LISTED,
        unfinished=[(row, job_name(sweep, row)) for row in sweep.rows if row["status"] != "completed"],
        jobs=[(row, job_name(sweep, row), page_link(folder, row["folder"])) for row in sweep.rows],
        **shown_figures,
    )


def headline_of_jobs(folder: Path) -> Headline | None:
    """Return the headline that the jobs share; None if they differ or have none."""
    alike: dict[str, JobRow] = {}  # one job for each choice of config groups and targets: these determine the classes
    for row in read_list(folder / "sweep.json")["jobs"]:
        if row["status"] == "completed":
            classes = {key: row["overrides"][key] for key in row["overrides"] if "." not in key or "_target_" in key}
            alike[json.dumps(classes)] = row
    return headline_of(folder / row["folder"] for row in alike.values())


def config_of(folder: Path) -> Mapping[str, Any]:
    """Return the config of a job; empty if it cannot be read."""
    try:
        content = read_yaml(folder / "config.yaml")
    except (OSError, RequestError):
        return {}
    return content if isinstance(content, Mapping) else {}


def verdict(sweep: Sweep) -> list[str]:
    """Summarise which configuration is best, how certain that is, and how it compares with references."""
    if not sweep.scored:
        return ["No job has a score yet."]
    from cellstate.metrics.display import number

    best, *others = sweep.scored
    sentences = [f"The best of {len(sweep.scored)} configurations" if others else "The only configuration"]
    sentences[0] += f" by {sweep.split} {sweep.metric.replace('_', ' ')}: {best.name}." if sweep.keys else "."
    if best.interval:
        (low, high), intervals = best.interval, [group.interval for group in others if group.interval]
        close = [one for one in intervals if one[0] <= high and low <= one[1]]
        if close:
            sentences.append(
                f"The 95 % intervals of {len(close)} others overlap with its own: they are not clearly worse."
                if len(close) > 1
                else "The 95 % interval of 1 other overlaps with its own: it is not clearly worse."
            )
        elif others and len(intervals) == len(others):
            sentences.append("No other 95 % interval overlaps with its own.")
    elif others:
        sentences.append("Each configuration ran once: the variation between repetitions is unknown.")
    reference = sweep.reference
    baselines = {name: value for name, value in reference.items() if name not in OPTIMA}
    if baselines:
        first = min(baselines, key=lambda name: rank(sweep.metric, baselines[name]))
        better = sum(rank(sweep.metric, group.mean) < rank(sweep.metric, baselines[first]) for group in sweep.scored)
        sentences.append(
            f"{better} of {len(sweep.scored)} are better than the best baseline, {spoken(first)} at "
            f"{number(baselines[first])}."
        )
    if "optimum" in reference:
        sentences.append(f"The best possible predictor scores {number(reference['optimum'])}.")
    return sentences


def varied(sweep: Sweep) -> list[tuple[str, str]]:
    """Return the varying keys and their values, those that only repeat a configuration last."""
    found = []
    for key in (*sweep.keys, *sweep.repeats):
        values = dict.fromkeys(
            brief(row["overrides"].get(key, row["repeat"].get(key, "")))
            for row in sweep.rows
            if key in row["overrides"] or key in row["repeat"]
        )
        more = f", … ({len(values)} values)" if len(values) > LISTED else ""
        found.append((key, ", ".join(list(values)[:LISTED]) + more))
    return found


def job_name(sweep: Sweep, row: Mapping[str, Any]) -> str:
    """Return the name of a job: the values in which jobs differ."""
    keys = {key: value for key, value in row["overrides"].items() if key in sweep.keys and key not in row["repeat"]}
    repeated = {key: value for key, value in row["repeat"].items() if key in sweep.repeats}
    return sweep.name_of({**keys, **repeated}) or row["folder"]
