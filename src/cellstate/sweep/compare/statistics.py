"""Whether one thing is better than another, told from a few repetitions that both have: the same seeds, the same folds.

Both are run on the same data in the same order under each seed, so that what a seed does to both cancels in their
difference. Of the mean difference there are two judgements, and only where both speak is a winner named:

- the **paired bootstrap**: the mean of differences drawn anew with replacement. Of n values its percentile interval is
  too narrow, by ``sqrt((n - 1) / n)`` and by the tails that Student's distribution has and the normal one lacks. So
  its ends are moved out until, for normal values, it is as wide as Student's: the *expanded percentile* interval
  (Hesterberg 2015, What Teachers Should Know About the Bootstrap, section 5.3).
- **Student's paired t**, adjusted by Holm's step-down procedure (1979) where several pairs are compared, so that the
  chance to name any winner among equals is that of one comparison.

Of five seeds the bootstrap alone would name a winner whenever all differences have one sign, 1 time in 16. The level is
98 %: a test that is right at 95 % names a winner in 5 % of comparisons of a thing with itself, and so in more than
that in every second look.
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
RESAMPLES = 20_000  # of more than six repetitions; of fewer, all possible resamples are looked at: 6**6 is 46 656
ALL_UP_TO = 6


@dataclass(frozen=True)
class Difference:
    """How much more one thing reached than another, over the repetitions that both have.

    Attributes:
        n: how many these are.
        mean: of the differences.
        low: lower end of the bootstrap interval of the mean; None of one repetition alone.
        high: its upper end.
        p: Student's probability of a mean at least this far from 0 among equals, adjusted for all pairs that are
            compared; 1 where nothing can be told.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    p: float

    @property
    def shown(self) -> bool:
        """Whether a difference is shown: the interval leaves 0 out, and so does Student's."""
        if self.low is None or self.high is None:
            return False
        return (self.low > 0 or self.high < 0) and self.p < 1 - LEVEL


def difference(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Return how much more ``one`` reached than ``other``, value by value.

    Args:
        one: a score for each repetition.
        other: the scores of the same repetitions, in the same order.

    Raises:
        ValueError: there are none, or not as many of the one as of the other.
    """
    if not len(one) or len(one) != len(other):
        raise ValueError(f"{len(one)} and {len(other)} scores cannot be paired")
    pairs = np.subtract(one, other, dtype=np.float64)
    low, high = bootstrap_interval(pairs) if len(pairs) > 1 else (None, None)
    return Difference(len(pairs), float(pairs.mean()), low, high, student_p(pairs))


def student_p(pairs: NDArray[np.float64]) -> float:
    """Return the probability, among equals, of a mean difference at least as far from 0 as this one."""
    if len(pairs) < 2 or not pairs.any():
        return 1.0
    error = float(pairs.std(ddof=1)) / math.sqrt(len(pairs))
    if error <= 1e-12 * abs(float(pairs.mean())):  # all differences are the same
        return 0.0
    return max(0.0, 1.0 - student_probability(abs(float(pairs.mean())) / error, len(pairs) - 1))


def bootstrap_interval(pairs: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """Return the expanded percentile interval of the mean of ``pairs``, which are two at least."""
    tail = expanded_tail(len(pairs), level)
    low, high = np.quantile(resampled_means(pairs), (tail, 1 - tail))
    return float(low), float(high)


def resampled_means(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of resamples: of all that there are, or of ``RESAMPLES`` drawn by a fixed seed."""
    n = len(pairs)
    if n <= ALL_UP_TO:
        drawn = np.array(list(itertools.product(range(n), repeat=n)))
    else:
        drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    return pairs[drawn].mean(axis=1)


@cache
def expanded_tail(n: int, level: float = LEVEL) -> float:
    """Return the share of resamples to leave out at each end: ``Phi(-sqrt(n / (n - 1)) t)``, t of n - 1 degrees."""
    return NormalDist().cdf(-math.sqrt(n / (n - 1)) * student_quantile(n - 1, level))


def compare(scores: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], Difference]:
    """Return the differences of all pairs, each over the repetitions that both have.

    Args:
        scores: name -> repetition (such as ``seed=3``) -> score.
    """
    found: dict[tuple[str, str], Difference] = {}
    for one, other in itertools.combinations(scores, 2):
        shared = [repetition for repetition in scores[one] if repetition in scores[other]]
        if shared:
            values = ([scores[name][repetition] for repetition in shared] for name in (one, other))
            found[one, other] = difference(*values)
    return adjusted(found)


def adjusted(found: Mapping[tuple[str, str], Difference]) -> dict[tuple[str, str], Difference]:
    """Return differences with Holm's p: the k-th smallest of m times m - k + 1, and none below one before it."""
    least, left = 0.0, len(found)
    p: dict[tuple[str, str], float] = {}
    for pair in sorted(found, key=lambda pair: found[pair].p):
        least = max(least, min(1.0, left * found[pair].p))
        p[pair], left = least, left - 1
    return {pair: Difference(one.n, one.mean, one.low, one.high, p[pair]) for pair, one in found.items()}
