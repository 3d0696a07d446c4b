"""The numbers behind a report's figures, as plain rows, for those who draw them elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cellstate.metrics.classification import ClassificationScores
from cellstate.model import Classifier, Forecaster, LanguageModel, NextState, Regressor, SequenceModel
from cellstate.model.forecasting import figures as forecasting
from cellstate.model.language import figures as tokens
from cellstate.model.material import Material
from cellstate.model.next_state import figures as states
from cellstate.model.regression import figures as regression

Rows = list[dict[str, Any]]
MOST = 1000  # rows of single predictions, evenly spaced in the split


def tables(material: Material) -> dict[str, Rows]:
    """Return name -> rows of what a task shows, each row a mapping from column to value."""
    found = next((TABLES[kind] for kind in type(material.model).__mro__ if kind in TABLES), None)
    return {} if found is None else dict(found(material))


def confusion(material: Material) -> Mapping[str, Rows]:
    """Return how many samples of each class were given each class, cells without any left out."""
    scores, classes = material.scores, material.data.spec.classes
    assert isinstance(scores, ClassificationScores)
    rows = [
        {"actual": classes[actual], "predicted": classes[predicted], "count": int(count)}
        for (actual, predicted), count in np.ndenumerate(np.asarray(scores.confusion()))
        if count or len(classes) <= MOST**0.5
    ]
    return {"confusion_matrix": rows}


def forecasts(material: Material) -> Mapping[str, Rows]:
    """Return the three windows of the figure step by step, with the ends of each band."""
    found, targets = forecasting.collect(material), material.data.spec.targets
    rows = []
    for window, index in forecasting.examples(found.errors).items():
        for (step, column), truth in np.ndenumerate(found.truth[index]):
            row = {"window": window, "target": targets[column], "row": int(found.rows[index]) + step + 1}
            row |= {"series": found.names[index]} if found.names else {}
            row |= {"step": step + 1, "truth": float(truth), "forecast": float(found.forecasts[index, step, column])}
            for per_cent, ends in found.bands.items():
                for end, values in zip(("lower", "upper"), ends, strict=True):
                    row[f"{end}_{per_cent}"] = float(values[index, step, column])
            for name, values in found.baselines.items():
                row[name] = float(values[index, step, column])
            rows.append(row)
    return {"forecasts": rows}


def predictions(material: Material) -> Mapping[str, Rows]:
    """Return predicted and true of the split's sequences, of at most ``MOST`` of them."""
    found, targets = regression.collect(material), material.data.spec.targets
    chosen = np.unique(np.linspace(0, len(found.truth) - 1, min(MOST, len(found.truth))).astype(int))
    rows = [
        {"sequence": int(index), "target": name, "truth": float(truth), "predicted": float(predicted)}
        for index in chosen
        for name, truth, predicted in zip(targets, found.truth[index], found.predicted[index], strict=True)
    ]
    return {"predictions": rows}


def texts(material: Material) -> Mapping[str, Rows]:
    """Return what a language model writes at each temperature."""
    model = material.model
    assert isinstance(model, LanguageModel)
    written = [(heat, model.generate(length=tokens.LENGTH, temperature=heat)) for heat in tokens.TEMPERATURES]
    return {"samples": [{"temperature": heat, "text": text} for heat, text in written]}


def expected(material: Material) -> Mapping[str, Rows]:
    """Return the probability that a model gives each next state after each state, beside how often it came."""
    found, names = states.collect(material), states.state_names(material)
    shown = [names[state] for state in found.states]
    rows = [
        {"state": shown[row], "next": shown[column], "expected": float(share), "observed": float(came)}
        for ((row, column), share), came in zip(np.ndenumerate(found.expected), found.observed.flat, strict=True)
        if not np.isnan(share)  # nothing ever follows that state
    ]
    return {"transitions": rows}


TABLES: dict[type[SequenceModel], Callable[[Material], Mapping[str, Rows]]] = {
    Classifier: confusion,
    Forecaster: forecasts,
    Regressor: predictions,
    NextState: expected,
    LanguageModel: texts,
}
