"""Whether one variant is better than another, tested on repetitions that both share: the same seeds or folds.

Both are trained on the same data in the same order under each seed, so that common effects of a seed cancel in the
difference. A difference is reported as shown only if two tests of the mean difference agree:

- the **paired bootstrap**: the mean of differences resampled with replacement. For n values its percentile interval is
  too narrow, by ``sqrt((n - 1) / n)`` and by the heavier tails of Student's distribution. So its ends are moved out
  until, for normal values, it is as wide as Student's: the *expanded percentile* interval (Hesterberg 2015, What
  Teachers Should Know About the Bootstrap, section 5.3).
- **Student's paired t-test**, adjusted by Holm's step-down procedure (1979) if several pairs are compared, which
  controls the family-wise error rate.

With five seeds, the bootstrap alone would report a difference whenever all differences have the same sign, which among
equals has a probability of 1 in 16. The level is 98 %: at 95 %, 5 % of comparisons of equals would report a difference,
and more if a comparison is repeated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cellstate.metrics.statistics import student_probability, student_quantile

LEVEL = 0.98
RESAMPLES = 20_000  # with more than six repetitions; with fewer, all resamples are enumerated: 6**6 = 46 656
ALL_UP_TO = 6


@dataclass(frozen=True)
class Difference:
    """Paired difference of the scores of two variants over shared repetitions.

    Attributes:
        n: number of shared repetitions.
        mean: of the differences.
        low: lower end of the bootstrap interval of the mean; None for a single repetition.
        high: its upper end.
        p: two-sided p-value of Student's paired t-test, adjusted for all compared pairs; 1 if undefined.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    p: float

    @property
    def shown(self) -> bool:
        """Whether the difference is significant: the interval excludes 0 and the t-test rejects equality."""
        if self.low is None or self.high is None:
            return False
        return (self.low > 0 or self.high < 0) and self.p < 1 - LEVEL


def difference(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Return the paired difference ``one - other``."""
    if not len(one) or len(one) != len(other):
        raise ValueError(f"{len(one)} and {len(other)} scores cannot be paired")
    pairs = np.subtract(one, other, dtype=np.float64)
    low, high = bootstrap_interval(pairs) if len(pairs) > 1 else (None, None)
    return Difference(len(pairs), float(pairs.mean()), low, high, student_p(pairs))


def student_p(pairs: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of Student's paired t-test."""
    if len(pairs) < 2 or not pairs.any():
        return 1.0
    error = float(pairs.std(ddof=1)) / math.sqrt(len(pairs))
    if error <= 1e-12 * abs(float(pairs.mean())):  # all differences are equal
        return 0.0
    return max(0.0, 1.0 - student_probability(abs(float(pairs.mean())) / error, len(pairs) - 1))


def bootstrap_interval(pairs: NDArray[np.float64]) -> tuple[float, float]:
    """Return the expanded percentile interval of the mean of at least two ``pairs``."""
    tail = expanded_tail(len(pairs))
    low, high = np.quantile(resampled_means(pairs), (tail, 1 - tail))
    return float(low), float(high)


def resampled_means(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of all resamples, or of ``RESAMPLES`` drawn with a fixed seed."""
    n = len(pairs)
    if n <= ALL_UP_TO:
        drawn = np.array(list(itertools.product(range(n), repeat=n)))
    else:
        drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    return pairs[drawn].mean(axis=1)


@cache
def expanded_tail(n: int, level: float = LEVEL) -> float:
    """Return the tail probability ``Phi(-sqrt(n / (n - 1)) t)``, with the t quantile of n - 1 degrees of freedom."""
    return NormalDist().cdf(-math.sqrt(n / (n - 1)) * student_quantile(n - 1, level))


def compare(scores: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], Difference]:
    """Return the differences of all pairs, each over their shared repetitions."""
    found: dict[tuple[str, str], Difference] = {}
    for one, other in itertools.combinations(scores, 2):
        shared = [repetition for repetition in scores[one] if repetition in scores[other]]
        if shared:
            values = ([scores[name][repetition] for repetition in shared] for name in (one, other))
            found[one, other] = difference(*values)
    return adjusted(found)


def adjusted(found: Mapping[tuple[str, str], Difference]) -> dict[tuple[str, str], Difference]:
    """Return differences with Holm's p: the k-th smallest of m times m - k + 1, made monotone."""
    least, left = 0.0, len(found)
    p: dict[tuple[str, str], float] = {}
    for pair in sorted(found, key=lambda pair: found[pair].p):
        least = max(least, min(1.0, left * found[pair].p))
        p[pair], left = least, left - 1
    return {pair: Difference(one.n, one.mean, one.low, one.high, p[pair]) for pair, one in found.items()}
