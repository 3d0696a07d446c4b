"""``sweep.csv``, a row per job, and ``groups.csv``, a row for all repetitions of an experiment."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellstate.runs.writing import write_whole
from cellstate.sweep.results import SCORES


def write_tables(folder: Path, content: Mapping[str, Any]) -> None:
    """Write both files."""
    write_table(folder / "sweep.csv", [dict(_job_cells(row)) for row in content["jobs"]])
    write_table(folder / "groups.csv", [dict(_group_cells(group)) for group in content["groups"]])


def _job_cells(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "status", row["status"]
    yield from row["overrides"].items()
    for split in SCORES:
        yield from ((f"{split}/{name}", value) for name, value in row[split].items())
    yield from ((name, row[name]) for name in ("parameters", "epochs", "steps"))
    yield "seconds", (row["seconds"] or {}).get("fit")
    yield "folder", row["folder"]
    yield "reason", row["reason"]


def _group_cells(group: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from group["overrides"].items()
    yield "n", group["n"]
    yield "missing", " ".join(",".join(f"{key}={value}" for key, value in one.items()) for one in group["missing"])
    for split in SCORES:
        for name, summary in group[split].items():
            for part in ("mean", "std", "low", "high"):
                yield f"{split}/{name} {part}", (summary or {}).get(part)
    yield "parameters", group["parameters"]
    yield "seconds mean", (group["seconds"] or {}).get("mean")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file atomically; rows may lack columns."""

    def write(draft: Path) -> None:
        with draft.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=_columns(rows), restval="")
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of all rows, each in its place among the columns of its row."""
    columns: list[str] = []
    for row in rows:
        place = 0
        for name in row:
            if name in columns:
                place = columns.index(name) + 1
            else:
                columns.insert(place, name)
                place += 1
    return columns
