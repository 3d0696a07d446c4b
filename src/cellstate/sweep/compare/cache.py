"""Cached scores of a comparison, so that no run is scored twice when the comparison is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cellstate.runs.writing import write_whole


def read(file: Path) -> dict[str, dict[str, Any]]:
    """Return run folder -> scores; empty without a file."""
    return json.loads(file.read_text()) if file.exists() else {}


def write(file: Path, found: dict[str, dict[str, Any]]) -> None:
    """Write the scores."""
    text = json.dumps(found, indent=2) + "\n"
    write_whole(file, lambda draft: draft.write_text(text))
