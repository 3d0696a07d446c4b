"""Metrics monitored by parts of a run: checkpoint, early stopping, learning rate schedule.

The direction belongs to the metric (``metrics/table.py``): configs need not repeat and cannot contradict it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from cellstate.errors import RequestError, did_you_mean
from cellstate.metrics.table import metric_of


def with_mode(values: Any) -> Any:
    """Return a callback's values with ``mode: null`` replaced by the direction of its monitor."""
    if not isinstance(values, Mapping) or "mode" not in values or values["mode"] is not None:
        return values
    return {**values, "mode": metric_of(str(values.get("monitor"))).mode or "min"}


def monitors(sections: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the metrics monitored by sections of a config."""
    return {str(values["monitor"]) for values in sections.values() if values.get("monitor")}


def check_monitors(sections: Mapping[str, Mapping[str, Any]], known: Collection[str]) -> None:
    """Reject a section that monitors an unknown metric, or in the wrong direction.

    Args:
        sections: sections with a ``monitor``, by their keys in the config.
        known: the metrics of the run, such as ``val/loss``.

    Raises:
        RequestError: one line for each problem.
    """
    problems = [problem for place, values in sections.items() for problem in _problems(place, values, known)]
    if problems:
        raise RequestError(*problems)


def _problems(place: str, values: Mapping[str, Any], known: Collection[str]) -> Iterator[str]:
    monitor, mode = values.get("monitor"), values.get("mode")
    if not monitor:
        return
    metric = metric_of(monitor)
    if monitor not in known:
        yield f"{place}.monitor={monitor}: unknown metric{did_you_mean(monitor, known)}"
    elif metric.mode is None and place != "checkpoint":
        yield f"{place}.monitor={monitor}: {metric.in_words}, which cannot be monitored; give another metric"
    elif mode is not None and metric.mode is not None and mode != metric.mode:
        yield f"{place}.mode={mode}: {metric.in_words} for {monitor}; omit mode, or set {place}.mode=null"
