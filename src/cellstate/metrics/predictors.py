"""Reference predictors: optimum and baselines. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

from cellstate.metrics.table import rank

OPTIMA = ("optimum", "optimum_realised")


def bounds(metric: str, reference: Mapping[str, float]) -> dict[str, float]:
    """Return the optimum and the best baseline, between which the score of a network is expected."""
    baselines = [name for name in reference if name not in OPTIMA]
    best = min(baselines, key=lambda name: rank(metric, reference[name]), default=None)
    return {name: value for name, value in reference.items() if name == "optimum" or name == best}


def spoken(predictor: str) -> str:
    """Return the name of a predictor as text."""
    return predictor.replace("_", " ")
