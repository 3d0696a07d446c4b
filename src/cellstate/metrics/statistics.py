"""Mean, standard deviation and 95 % confidence interval of repetitions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

LEVEL = 0.95


def summarise(values: Sequence[float]) -> dict[str, float | int | None]:
    """Return mean, sample standard deviation (n - 1), n, and the 95 % confidence interval of the mean.

    The interval is Student's, ``mean ± t s / sqrt(n)``, with the t quantile of n - 1 degrees of freedom, and assumes
    independent, approximately normal values. A single value has neither deviation nor interval.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": mean, "std": None, "low": None, "high": None, "n": len(values)}
    deviation = statistics.stdev(values)
    half = student_quantile(len(values) - 1) * deviation / math.sqrt(len(values))
    return {"mean": mean, "std": deviation, "low": mean - half, "high": mean + half, "n": len(values)}


def student_quantile(degrees: int, level: float = LEVEL) -> float:
    """Return the t for which a Student variable is within ±t with probability ``level``."""
    low, high = 0.0, 1.0
    while student_probability(high, degrees) < level:
        high *= 2
    for _ in range(100):  # bisection to float resolution
        middle = (low + high) / 2
        low, high = (middle, high) if student_probability(middle, degrees) < level else (low, middle)
    return (low + high) / 2


def student_probability(t: float, degrees: int) -> float:
    """Return P(-t < T < t) for a Student variable of ``degrees`` degrees of freedom, in closed form.

    With theta = atan(t / sqrt(degrees)) it is a finite sum of powers of cos theta: Abramowitz & Stegun (1964), 26.7.3
    for odd and 26.7.4 for even degrees.
    """
    theta = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(1 if odd else 0, degrees - 1, 2):  # cos^power of theta times a product of fractions
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    return 2 / math.pi * (theta + sine * total) if odd else sine * total
