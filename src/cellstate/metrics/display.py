"""Metrics shown on the terminal, and the format of their values."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cellstate.metrics.table import metric_of


def shown_metrics(values: Mapping[str, float]) -> list[str]:
    """Return the metrics that fit on the terminal.

    The scaled ones give way to those of a forecast distribution, and for several series to smape, which then is a mean
    over series like mase and owa.
    """
    if len(values) < 7:
        return list(values)
    several = "mase_pooled" in values
    hidden = {"mae_scaled", "mse_scaled"} if several or "crps" in values else set()
    hidden |= set() if several else {"smape"}
    return [name for name in values if name not in hidden and metric_of(name).in_tables]


def number(value: float | None) -> str:
    """Return a number with four significant digits, without an exponent if readable; empty for None."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        digits = 4 if abs(value) < 10 else max(0, 4 - len(str(int(abs(value)))))
        return f"{value:,.{digits}f}"
    return f"{value:.3g}"
