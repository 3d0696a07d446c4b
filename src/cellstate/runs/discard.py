"""Cleaning up after a request that was refused before a run began. Imports nothing heavy."""

from __future__ import annotations

import shutil
from pathlib import Path


def discard_unclaimed(path: Path) -> None:
    """Remove the folder of a request that was refused, if nothing but Hydra's own record lies in it."""
    if not path.is_dir() or {entry.name for entry in path.iterdir()} - {".hydra"}:
        return
    shutil.rmtree(path)
    for parent in list(path.parents)[:2]:  # outputs/runs/EXPERIMENT and outputs/runs, where this was the only run
        if parent == Path.cwd() or any(parent.iterdir()):
            return
        parent.rmdir()
