"""The result table of a page: predictors by rank, and a one-sentence summary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

from cellstate.metrics.display import number
from cellstate.metrics.predictors import OPTIMA, spoken
from cellstate.metrics.table import metric_of, rank
from cellstate.model.material import Material

# How each reference predictor works.
PREDICTORS = {
    "optimum": "expected score of the best possible predictor",
    "optimum_realised": "score of the best possible predictor for the noise in this split",
    "majority_expected": "expected score of the majority class, by counting",
    "majority": "always predicts the most common class of the training split",
    "nearest_neighbour": "predicts the class of the nearest training sequence (Euclidean distance)",
    "nearest_neighbour_dtw": "the same under dynamic time warping, within a band of a tenth of the longest sequence",
    "minirocket": "ridge regression on the features of MiniRocket",
    "last_value": "repeats the last observation",
    "sine_fit": "extrapolates the sine wave that fits the window best",
    "mean": "always predicts the mean of the training targets",
    "one": "always predicts 1; expected score",
    "second_only": "knows only the second marked number",
    "seasonal_naive": "repeats the last season",
    "seasonal_naive_drift": "repeats the last season, plus its mean change",
    "naive2": "repeats the seasonally adjusted last value (M4 competition)",
    "drift": "continues the line through the first and the last observation",
    "auto_theta": "AutoTheta of statsforecast",
    "auto_ets": "AutoETS of statsforecast",
    "ridge_linear": "ridge regression from window to horizon",
    "uniform": "uniform distribution over symbols",
    "unigram": "symbol frequencies",
    "bigram": "symbol frequencies given the previous symbol",
    "trigram": "symbol frequencies given the previous two symbols",
    "chain_1": "fitted Markov chain of order 1",
    "chain_2": "fitted Markov chain of order 2",
    "chain_3": "fitted Markov chain of order 3",
    "guessed_close": "knows the grammar, guesses the closing symbol",
    "memoryless": "knows the time step, but no earlier symbols",
}


def meaning_of(name: str) -> str:
    """Return what a reference does; empty if it is unknown, such as one of a user's own data."""
    start, _, season = name.rpartition("_")
    if start == "seasonal_naive" and season.isdecimal():
        return f"repeats the last {season} steps"
    return PREDICTORS.get(name, "")


@dataclass(frozen=True)
class Cell:
    """One score: its value in ``metrics.json``, its text, and whether it is the best of its column."""

    value: float | None
    shown: str
    best: bool = False


@dataclass(frozen=True)
class PredictorRow:
    """One predictor; ``kind`` is ``run``, ``baseline``, ``optimum`` or ``other`` (not comparable)."""

    name: str
    meaning: str
    kind: str
    cells: tuple[Cell, ...]
    best: bool = False


@dataclass(frozen=True)
class ResultTable:
    """Optima, then run and baselines by rank, then the run on the validation split."""

    metrics: tuple[str, ...]
    meanings: Mapping[str, str]
    rows: tuple[PredictorRow, ...]


def result_table(material: Material, metric: str) -> ResultTable:
    """Return the numbers of ``metrics.json`` on the reported split, ranked by ``metric``."""
    split, val = material.split, material.metrics["val"]
    result, metrics = material.metrics[split], tuple(material.metrics[split])
    scores = by_predictor(material.metrics["reference"])
    optima = {name: scores.pop(name) for name in OPTIMA if name in scores}
    this_run = f"this run, {split}"
    compared = {this_run: result, **scores}
    best = {key: best_of(key, (values.get(key) for values in compared.values())) for key in metrics}

    rows = [PredictorRow(spoken(name), meaning_of(name), "optimum", cells(optima[name], metrics)) for name in optima]
    for name, values in sorted(compared.items(), key=lambda entry: rank(metric, entry[1].get(metric))):
        kind, meaning = "baseline", meaning_of(name)
        if name == this_run:
            kind, meaning = "run", "the trained network, best checkpoint"
        first = metric in best and best[metric] is not None and values.get(metric) == best[metric]
        rows.append(PredictorRow(spoken(name), meaning, kind, cells(values, metrics, best), best=first))
    if split != "val" and val:
        rows.append(PredictorRow("this run, val", "used for model selection", "other", cells(val, metrics)))
    return ResultTable(metrics, {key: found for key in metrics if (found := metric_of(key).meaning)}, tuple(rows))


def by_predictor(reference: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return predictor -> metric -> value from metric -> predictor -> value."""
    turned: dict[str, dict[str, float]] = {}
    for metric, values in reference.items():
        for name, value in values.items():
            turned.setdefault(name, {})[metric] = value
    return turned


def cells(
    values: Mapping[str, float], metrics: Iterable[str], best: Mapping[str, float | None] | None = None
) -> tuple[Cell, ...]:
    """Return a cell for each metric, marked where it equals ``best``."""
    return tuple(
        Cell(value, number(value), best is not None and value is not None and value == best[key])
        for key, value in ((key, values.get(key)) for key in metrics)
    )


def best_of(metric: str, values: Iterable[float | None]) -> float | None:
    """Return the best of several values; None if there are fewer than two."""
    found = [value for value in values if value is not None and isfinite(value)]
    return min(found, key=lambda value: rank(metric, value)) if len(found) > 1 else None


def verdict(material: Material, metric: str) -> str:
    """Summarise how the run's ``metric`` compares with baselines and optimum."""
    value, reference = material.metrics[material.split].get(metric), material.reference(metric)
    baselines = {name: score for name, score in reference.items() if name not in OPTIMA}
    sentences = [] if value is None or not baselines else [against_baselines(metric, value, baselines)]
    if "optimum" in reference:
        realised = reference.get("optimum_realised")
        here = "" if realised is None else f", and {number(realised)} for the noise in this split"
        sentences.append(f"The best possible predictor scores {number(reference['optimum'])}{here}.")
    return " ".join(sentences)


def against_baselines(metric: str, value: float, baselines: Mapping[str, float]) -> str:
    """Return the rank of a value among the baselines, and the best of them."""
    better = sum(rank(metric, score) < rank(metric, value) for score in baselines.values())
    best = min(baselines, key=lambda name: rank(metric, baselines[name]))
    named = f"{spoken(best)} at {number(baselines[best])}"
    if len(baselines) == 1:
        word = "Worse than" if better else "No better than" if value == baselines[best] else "Better than"
        return f"{word} the baseline, {named}."
    if better:
        return f"{better} of {len(baselines)} baselines {'is' if better == 1 else 'are'} better; the best is {named}."
    word = "As good as the best" if value == baselines[best] else "Better than all"
    return f"{word} of {len(baselines)} baselines; the best is {named}."
