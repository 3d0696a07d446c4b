"""The outer loop of nested cross-validation: score the selected trial of each search on its held-out fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from cellstate.errors import RunError
from cellstate.metrics.display import number, shown_metrics
from cellstate.metrics.statistics import summarise
from cellstate.sweep.display import interval
from cellstate.sweep.search.display import format_params
from cellstate.sweep.search.study import Study


def score_folds(
    folder: Path, studies: Sequence[Study], known: Mapping[str, Any], *, ledger: str
) -> dict[str, dict[str, Any]]:
    """Return fold -> the selected trial of its search, and its scores on that fold.

    Every evaluation is logged in the ledger. Folds that were scored before are not scored again.
    """
    from cellstate.scoring.evaluate import evaluate  # torch is loaded here

    found = {}
    for study in studies:
        if study.part.fold is None or not (ranked := study.ranked()):
            continue
        best, fold = ranked[0], str(study.part.fold)
        if (known.get(fold) or {}).get("job") == best.job:
            found[fold] = known[fold]
            continue
        place = folder / str(best.job)
        if not (place / "checkpoints" / "best.ckpt").is_file():
            raise RunError(f"{place}: the best trial of {study.part.label} was trained elsewhere; score it there")
        result = evaluate(place, ledger=ledger)
        found[fold] = {
            "trial": best.number, "job": best.job, "params": dict(best.params),
            "picked": best.values[0] if best.values else None,
            "test": result.metrics.get("test", {}), "reference": result.reference,
        }  # fmt: skip
    return found


def estimate(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return metric -> mean over the folds, standard deviation, and 95 % interval of the mean."""
    names = dict.fromkeys(name for one in scores.values() for name in one["test"])
    return {name: summarise([one["test"][name] for one in scores.values() if name in one["test"]]) for name in names}


def fold_table(scores: Mapping[str, Mapping[str, Any]], objective: str) -> Table | None:
    """Return a table with a row for each fold and their mean; None if none was scored."""
    if not scores:
        return None
    metrics = shown_metrics(estimate(scores))
    title = "selected trial of each search, scored on its held-out fold"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("fold", justify="right")
    table.add_column("selected", overflow="fold")
    for name in (f"inner {objective}", *(f"scored {metric}" for metric in metrics)):
        table.add_column(name, justify="right")
    for fold, one in scores.items():
        cells = [number(one["test"].get(metric)) for metric in metrics]
        table.add_row(fold, escape(format_params(one["params"])), number(one["picked"]), *cells)
    found = estimate(scores)
    picked = [one["picked"] for one in scores.values() if one["picked"] is not None]
    means = [interval(found[metric]) for metric in metrics]
    table.add_row("mean", "± half of the 95 % interval", number(sum(picked) / len(picked)) if picked else "", *means)
    return table
