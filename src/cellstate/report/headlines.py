"""The headline metric that finished runs have recorded. Imports nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from cellstate.metrics.headline import Headline


def headline_of(folders: Iterable[Path]) -> Headline | None:
    """Return the headline that all runs share; None if they differ or have recorded none."""
    found = {recorded(folder) for folder in folders}
    return found.pop() if len(found) == 1 else None


def recorded(folder: Path) -> Headline | None:
    """Return the headline in a run's ``metrics.json``."""
    try:
        content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        metric, label = content["headline"]["metric"], content["headline"]["label"]
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return Headline(metric, label) if isinstance(metric, str) and isinstance(label, str) else None
