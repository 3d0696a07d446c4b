"""Score the runs of a comparison on the test split, once each; every evaluation is logged in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cellstate.checkpoint.trust import Trust
from cellstate.scoring.evaluate import evaluate
from cellstate.sweep.compare import cache

FILE = "tested.json"


def tested(folder: Path, rows: Iterable[Mapping[str, Any]], ledger: str, trust: Trust) -> dict[str, dict[str, Any]]:
    """Return run folder -> ``metrics`` and ``reference`` of the test split; scores are cached in a file."""
    found = cache.read(folder / FILE)
    for row in rows:
        name = row["folder"]
        if name not in found:
            scored = evaluate(folder / name, ledger=ledger, trust=trust)
            found[name] = {"metrics": scored.metrics.get("test", {}), "reference": scored.reference}
            cache.write(folder / FILE, found)
    return found
