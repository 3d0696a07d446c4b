"""The table of results as a page shows it: predictors by rank, and a sentence that says where the run stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

from cellstate.metrics.display import number
from cellstate.metrics.predictors import OPTIMA, spoken
from cellstate.metrics.table import metric_of, rank
from cellstate.model.material import Material

# What each predictor beside the network does.
PREDICTORS = {
    "optimum": "what the best possible predictor can expect",
    "optimum_realised": "the best possible predictor on the very noise of this split",
    "majority_expected": "what that scores in expectation, by counting",
    "majority": "always the class that is most common in training",
    "nearest_neighbour": "the class of the training sequence at the least Euclidean distance",
    "nearest_neighbour_dtw": "the same under dynamic time warping, within a band of a tenth of the longest sequence",
    "minirocket": "ridge regression on MiniRocket's features",
    "last_value": "repeats the newest observation",
    "sine_fit": "carries on the sine wave that fits the window best",
    "mean": "always the mean of the training targets",
    "one": "always 1; in expectation, not on this split",
    "second_only": "has forgotten the first marked number, knows the second",
    "seasonal_naive": "repeats the last season",
    "seasonal_naive_drift": "repeats the last season, plus its mean change",
    "ridge_linear": "one regularised linear map from window to horizon",
    "uniform": "every symbol equally likely",
    "unigram": "knows how often each symbol occurs",
    "bigram": "knows the symbol before",
    "trigram": "knows the two symbols before",
    "chain_1": "fitted chain: knows the newest state",
    "chain_2": "fitted chain: knows the two newest states",
    "chain_3": "fitted chain: knows the three newest states",
    "guessed_close": "knows the grammar, but not what opened the string",
    "memoryless": "knows the time, and nothing of the symbols",
}


@dataclass(frozen=True)
class Cell:
    """One number: as it stands in ``metrics.json``, as it is shown, and whether no other predictor's is better."""

    value: float | None
    shown: str
    best: bool = False


@dataclass(frozen=True)
class PredictorRow:
    """One predictor; ``kind`` is ``run``, ``baseline``, ``optimum`` or ``other`` (not to be compared with the rest)."""

    name: str
    meaning: str
    kind: str
    cells: tuple[Cell, ...]
    best: bool = False


@dataclass(frozen=True)
class ResultTable:
    """Optima, then run and baselines with the best first, then the run on the validation split."""

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

    rows = [
        PredictorRow(spoken(name), PREDICTORS.get(name, ""), "optimum", cells(optima[name], metrics)) for name in optima
    ]
    for name, values in sorted(compared.items(), key=lambda entry: rank(metric, entry[1].get(metric))):
        kind, meaning = "baseline", PREDICTORS.get(name, "")
        if name == this_run:
            kind, meaning = "run", "the network, with its best weights"
        first = metric in best and best[metric] is not None and values.get(metric) == best[metric]
        rows.append(PredictorRow(spoken(name), meaning, kind, cells(values, metrics, best), best=first))
    if split != "val" and val:
        rows.append(PredictorRow("this run, val", "other data; it chose the weights", "other", cells(val, metrics)))
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
    """Return a cell for each metric; those that equal the ``best`` are marked."""
    return tuple(
        Cell(value, number(value), best is not None and value is not None and value == best[key])
        for key, value in ((key, values.get(key)) for key in metrics)
    )


def best_of(metric: str, values: Iterable[float | None]) -> float | None:
    """Return the best of several values, None where there is nothing to compare."""
    found = [value for value in values if value is not None and isfinite(value)]
    return min(found, key=lambda value: rank(metric, value)) if len(found) > 1 else None


def verdict(material: Material, metric: str) -> str:
    """Return in a sentence or two how the run's ``metric`` compares with baselines and optimum."""
    value, reference = material.metrics[material.split].get(metric), material.reference(metric)
    baselines = {name: score for name, score in reference.items() if name not in OPTIMA}
    said = [] if value is None or not baselines else [against_baselines(metric, value, baselines)]
    if "optimum" in reference:
        drawn = reference.get("optimum_realised")
        here = "" if drawn is None else f", and {number(drawn)} on the very noise of this split"
        said.append(f"The best possible predictor reaches {number(reference['optimum'])}{here}.")
    return " ".join(said)


def against_baselines(metric: str, value: float, baselines: Mapping[str, float]) -> str:
    """Return how many baselines are better, and the best of them."""
    better = sum(rank(metric, score) < rank(metric, value) for score in baselines.values())
    best = min(baselines, key=lambda name: rank(metric, baselines[name]))
    named = f"{spoken(best)} at {number(baselines[best])}"
    if len(baselines) == 1:
        word = "Worse than" if better else "No better than" if value == baselines[best] else "Better than"
        return f"{word} the baseline, {named}."
    if better:
        return f"{better} of {len(baselines)} baselines {'is' if better == 1 else 'are'} better; the best is {named}."
    word = "As good as the best" if value == baselines[best] else "Better than each"
    return f"{word} of {len(baselines)} baselines; the best is {named}."
