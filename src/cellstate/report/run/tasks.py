"""What each kind of model shows on its page. A new kind of model is a new line in ``TASKS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cellstate.model import Classifier, Forecaster, LanguageModel, NextState, Regressor, SequenceModel
from cellstate.model.classification import figures as classification
from cellstate.model.forecasting import figures as forecasting
from cellstate.model.language import figures as tokens
from cellstate.model.material import Material
from cellstate.model.next_state import figures as states
from cellstate.model.regression import figures as regression
from cellstate.plotting.parts import Section


@dataclass(frozen=True)
class Task:
    """How a page speaks of a kind of model."""

    metric: str  # what the page speaks of first
    metric_label: str  # and its unit
    loss_unit: str
    section: Callable[[Material], Section]
    further: tuple[tuple[str, str], ...] = ()  # more metrics whose curves are drawn, each with its label


TASKS: dict[type[SequenceModel], Task] = {
    Classifier: Task("accuracy", "accuracy", "nats a sample", classification.section),
    Forecaster: Task(
        "mae",
        "mean absolute error, in the data's own units",
        "on values scaled to the training split's z-score",
        forecasting.section,
    ),
    Regressor: Task(
        "mse",
        "mean squared error, in the data's own units squared",
        "on values scaled to the training split's z-score",
        regression.section,
    ),
    NextState: Task(
        "loss", "cross-entropy, nats a state", "nats a state", states.section, (("accuracy", "share of right answers"),)
    ),
    LanguageModel: Task("bpc", "bits a character", "nats a character", tokens.section),
}
OTHER = Task("loss", "loss", "as trained", lambda _: Section())


def task_of(model: SequenceModel) -> Task:
    """Return the entry of the nearest class that has one."""
    return next((TASKS[kind] for kind in type(model).__mro__ if kind in TASKS), OTHER)
