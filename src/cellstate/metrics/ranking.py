"""Which of two scores is the better one, and what predictors are called. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

OPTIMA = ("optimum", "optimum_realised")
HIGHER_IS_BETTER = frozenset({"accuracy", "f1", "auroc", "closing_accuracy", "recall_accuracy"})


def rank(metric: str, value: float | None) -> float:
    """Return a number that is the smaller the better."""
    if value is None or value != value:
        return inf
    return -value if metric in HIGHER_IS_BETTER else value


def bounds(metric: str, reference: Mapping[str, float]) -> dict[str, float]:
    """Return the optimum and the best baseline: the scores between which a network can be expected."""
    baselines = [name for name in reference if name not in OPTIMA]
    best = min(baselines, key=lambda name: rank(metric, reference[name]), default=None)
    return {name: value for name, value in reference.items() if name == "optimum" or name == best}


def spoken(predictor: str) -> str:
    """Return the name of a predictor as people say it."""
    return predictor.replace("_", " ")
