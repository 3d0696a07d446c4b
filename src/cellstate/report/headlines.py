"""The headline metric that finished runs have recorded. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cellstate.metrics.headline import Headline
from cellstate.runs.json_file import read_json


def headline_of(folders: Iterable[Path]) -> Headline | None:
    """Return the headline that all runs share; None if they differ or have recorded none."""
    found = {recorded(folder) for folder in folders}
    return found.pop() if len(found) == 1 else None


def recorded(folder: Path) -> Headline | None:
    """Return the headline in a run's ``metrics.json``."""
    match read_json(folder / "metrics.json"):
        case {"headline": {"metric": str(metric), "label": str(label)}}:
            return Headline(metric, label)
    return None
