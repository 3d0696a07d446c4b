"""Ridge regression with an intercept, whose penalty is chosen by cross-validation over blocks of time.

With X the features and Y the targets, each minus its mean, the weights are (X'X + P)^-1 X'Y (Hoerl & Kennard 1970) with
a diagonal penalty P, and the intercept is not penalised.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

STRENGTHS = tuple(10.0**power for power in range(-2, 6))  # of the penalty on standardised windows, to choose from
FOLDS = 5
LEAST_ROWS = 5  # outside a block, with fewer it is skipped


@dataclass(frozen=True)
class Moments:
    """What a regression needs of its features ``(M, F)`` and targets ``(M, H)``: their means and products."""

    centre: Tensor  # (F,)
    middle: Tensor  # (H,)
    power: Tensor  # (F, F)
    product: Tensor  # (F, H)

    @classmethod
    def of(cls, features: Tensor, targets: Tensor) -> Moments:
        """Return the moments of features and targets."""
        centre, middle = features.mean(0), targets.mean(0)
        moved = features - centre
        return cls(centre, middle, moved.T @ moved, moved.T @ (targets - middle))

    def solved(self, strengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights ``(F, H)`` and intercept ``(H,)`` with the penalties ``strengths (F,)``."""
        weight = torch.linalg.solve(self.power + torch.diag(strengths), self.product)
        return weight, self.middle - self.centre @ weight


def ridge(features: Tensor, targets: Tensor, strengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights ``(F, H)`` and intercept ``(H,)``, with the penalty ``strengths (F,)`` on weights alone."""
    return Moments.of(features, targets).solved(strengths)


def cross_validated(features: Tensor, targets: Tensor, penalties: Sequence[Tensor], gap: int) -> list[float]:
    """Return the mean absolute error for each of ``penalties (F,)``, leaving out each of FOLDS blocks of time once.

    Args:
        features: ``(M, F)``, in order of time.
        targets: ``(M, H)``.
        penalties: to compare.
        gap: rows on both sides of a block that are left out too, as their targets overlap.
    """
    errors = [0.0] * len(penalties)
    for inside, outside in blocks(len(features), gap):
        moments = Moments.of(features[outside], targets[outside])
        for number, strengths in enumerate(penalties):
            weight, bias = moments.solved(strengths)
            error = features[inside] @ weight + bias - targets[inside]
            errors[number] += float(error.abs().sum()) / targets.numel()
    return errors


def blocks(rows: int, gap: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows of each block, and those outside it and its gaps; blocks that leave too few rows are skipped."""
    borders = torch.linspace(0, rows, FOLDS + 1).round().long().tolist()
    every = torch.arange(rows)
    for first, last in itertools.pairwise(borders):
        outside = every[(every < first - gap) | (every >= last + gap)]
        if last > first and len(outside) >= LEAST_ROWS:
            yield every[first:last], outside
