"""The table of metrics: meaning, direction, unit, and display of each one. Imports nothing heavy.

This is the single source for checkpoints, early stopping, schedules, searches, rankings, loggers, tables and pages.
Custom metrics are added with ``register``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

Mode = Literal["min", "max"]
MONITOR = "val/loss"  # selects the best weights of a run by default
TRAINING_LOSS = "train/loss"  # available in every run, also without a validation split


@dataclass(frozen=True)
class Metric:
    """The properties of a metric.

    Attributes:
        name: as in ``metrics.json``, without the split.
        meaning: one line, with the unit.
        better: ``lower``, ``higher``, or the best value, such as 0.8 for the coverage of an 80 % interval.
        in_tables: False for metrics that terminal tables omit if there are many; files and pages have all.
        unit_free: whether values on different data sets have the same scale, so that their mean says something.
    """

    name: str
    meaning: str = ""
    better: Literal["lower", "higher"] | float = "lower"
    in_tables: bool = True
    unit_free: bool = False

    def rank(self, value: float | None) -> float:
        """Return a number that is smaller for a better value, infinite for None and NaN."""
        if value is None or value != value:
            return inf
        if isinstance(self.better, str):
            return -value if self.better == "higher" else value
        return abs(value - self.better)

    @property
    def mode(self) -> Mode | None:
        """``min`` or ``max``, as in callbacks and optimisers; None if the best value is in between."""
        if isinstance(self.better, str):
            return "max" if self.better == "higher" else "min"
        return None

    @property
    def higher_is_better(self) -> bool:
        """Whether higher is better."""
        return self.better == "higher"

    @property
    def in_words(self) -> str:
        """The direction as text, such as ``lower is better``."""
        return f"{self.better} is better" if isinstance(self.better, str) else f"closer to {self.better:g} is better"

    def along(self, low: str, high: str) -> str:
        """Return the better end of an axis, such as ``the further left, the better``."""
        if not isinstance(self.better, str):
            return f"the closer to {self.better:g}, the better"
        return f"the further {high if self.better == 'higher' else low}, the better"


_TABLE: dict[str, Metric] = {}


def register(metric: Metric) -> Metric:
    """Add a metric to the table, replacing one of the same name, and return it."""
    _TABLE[metric.name] = metric
    return metric


def registered() -> list[str]:
    """Return the names of all metrics in the table."""
    return list(_TABLE)


def metric_of(name: str) -> Metric:
    """Return the entry of a metric, with or without a split (``val/loss``); the default is lower is better."""
    bare = name.rpartition("/")[2]
    return _TABLE.get(bare) or Metric(bare)


def rank(name: str, value: float | None) -> float:
    """Return a number that is smaller for a better value of a metric, infinite for None and NaN."""
    return metric_of(name).rank(value)


for _entry in (
    Metric("loss", "the training objective; lower is better", in_tables=False),
    Metric("accuracy", "fraction of correct predictions; higher is better", "higher", unit_free=True),
    Metric(
        "closing_accuracy",
        "fraction of correct predictions of the closing symbol of an embedding; chance is 0.5",
        "higher",
        unit_free=True,
    ),
    Metric(
        "recall_accuracy",
        "fraction of correct predictions of the symbols to recall; higher is better",
        "higher",
        unit_free=True,
    ),
    Metric("f1", "harmonic mean of precision and recall; higher is better", "higher", unit_free=True),
    Metric("auroc", "probability that a positive is ranked above a negative; chance is 0.5", "higher", unit_free=True),
    Metric("bpc", "bits per symbol; lower is better"),
    Metric("perplexity", "number of equally likely symbols with the same uncertainty; lower is better"),
    Metric("mae", "mean absolute error, in the units of the data"),
    Metric("rmse", "root mean squared error, in the units of the data"),
    Metric("mse", "mean squared error, in the squared units of the data", in_tables=False),
    Metric("smape", "symmetric mean absolute percentage error, in per cent", unit_free=True),
    Metric(
        "mase", "mae divided by that of the seasonal naive forecast before; below 1 is better than it", unit_free=True
    ),
    Metric(
        "mase_pooled",
        "mae divided by that of the seasonal naive forecast in training, over all series together",
        in_tables=False,
        unit_free=True,
    ),
    Metric(
        "owa",
        "mean of smape and mase relative to those of Naive2, as in the M4 competition; below 1 is better than it",
        unit_free=True,
    ),
    Metric("crps", "continuous ranked probability score, in the units of the data; for a point forecast its mae"),
    Metric("pinball", "mean pinball loss of the quantiles, in the units of the data", in_tables=False),
    Metric("nll", "negative log-likelihood, in nats per value", in_tables=False),
    Metric(
        "coverage_80",
        "fraction of observations inside the 80 % interval; 0.8 is best",
        0.8,
        in_tables=False,
        unit_free=True,
    ),
    Metric("coverage_90", "fraction of observations inside the 90 % interval; 0.9 is best", 0.9, unit_free=True),
    Metric("interval_width_80", "mean width of the 80 % interval, in the units of the data", in_tables=False),
    Metric("interval_width_90", "mean width of the 90 % interval, in the units of the data", in_tables=False),
    Metric(
        "mae_scaled", "mae divided by the standard deviation of the training split, as papers report it", unit_free=True
    ),
    Metric("mse_scaled", "mse divided by the variance of the training split, as papers report it", unit_free=True),
):
    register(_entry)
