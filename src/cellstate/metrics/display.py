"""Which metrics stand on the screen, and how their values are written there."""

from __future__ import annotations

import math
from collections.abc import Mapping

# What the screen leaves out where there are many metrics: it can be read off those that it shows.
ONLY_IN_FILE = {"loss", "mse", "smape", "pinball", "nll", "coverage_80", "interval_width_80", "interval_width_90"}


def shown_metrics(values: Mapping[str, float]) -> list[str]:
    """Return which metrics fit on the screen; those of a forecast distribution take the place of the scaled ones."""
    hidden = ONLY_IN_FILE | ({"mae_scaled", "mse_scaled"} if "crps" in values else set())
    return [metric for metric in values if metric not in hidden or len(values) < 7]


def number(value: float | None) -> str:
    """Return a number with four significant digits, without an exponent where it is readable; nothing for None."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        digits = 4 if abs(value) < 10 else max(0, 4 - len(str(int(abs(value)))))
        return f"{value:,.{digits}f}"
    return f"{value:.3g}"
