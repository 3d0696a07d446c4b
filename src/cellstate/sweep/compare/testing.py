"""Scoring the test split with the runs of a comparison, once each; every look leaves a line in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cellstate.checkpoint.trust import Trust
from cellstate.scoring.evaluate import evaluate
from cellstate.sweep.compare import kept

FILE = "tested.json"


def tested(folder: Path, rows: Iterable[Mapping[str, Any]], ledger: str, trust: Trust) -> dict[str, dict[str, Any]]:
    """Return run folder -> ``metrics`` and ``reference`` of the test split, scoring those that were not scored before.

    Args:
        folder: the comparison's; what was scored is kept in it after each run, so that no split is looked at twice.
        rows: of the runs that are complete.
        ledger: where each look leaves a line.
        trust: packages whose classes the runs use.

    Raises:
        RequestError: the ledger cannot be written, or the data of a run is another now.
    """
    found = kept.read(folder / FILE)
    for row in rows:
        name = row["folder"]
        if name not in found:
            scored = evaluate(folder / name, ledger=ledger, trust=trust)
            found[name] = {"metrics": scored.metrics.get("test", {}), "reference": scored.reference}
            kept.write(folder / FILE, found)
    return found
