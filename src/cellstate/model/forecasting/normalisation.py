"""Instance normalisation: every window is scaled by its own statistics, and its forecast scaled back.

Kim et al., Reversible Instance Normalization, ICLR 2022 (without its affine part); subtracting the last value:
Zeng et al., Are Transformers Effective for Time Series Forecasting?, AAAI 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Normalisation = Literal["last", "mean", "mean_std", "none"]
SMALLEST_RATIO = 1e-3  # lower bound of value / mean of its window, as a feature
SMALLEST = 1e-5  # lower bound of a spread relative to the level, where rounding begins


@dataclass(frozen=True)
class Frame:
    """The normalisation of each window: value = normalised * spread + centre.

    Attributes:
        centre: ``(N, 1, C)``; None: 0.
        spread: ``(N, 1, C)``; None: 1.
        observed: ``(N, W, C)`` bool, False for steps before the start of the series; None: all True.
    """

    centre: Tensor | None = None
    spread: Tensor | None = None
    observed: Tensor | None = None

    def normalised(self, values: Tensor) -> Tensor:
        """Normalise values ``(N, T, C)``."""
        values = values if self.centre is None else values - self.centre
        return values if self.spread is None else values / self.spread

    def restored(self, values: Tensor) -> Tensor:
        """Invert ``normalised``."""
        values = values if self.spread is None else values * self.spread
        return values if self.centre is None else values + self.centre

    def log_ratio(self, normalised: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Return log(value / mean of its window), 0 for steps before the start of the series.

        Args:
            normalised: windows ``(N, W, C)``.
            mean: of the scaler, ``(C,)``, which the values were scaled with before.
            std: likewise.
        """
        assert self.centre is not None
        level = self.centre * std + mean
        ratio = (self.restored(normalised) * std + mean) / level.where(level > 0, 1.0)
        logs = ratio.clamp(min=SMALLEST_RATIO).log()
        return logs if self.observed is None else logs.where(self.observed, 0.0)

    def take(self, rows: Tensor | slice) -> Frame:
        """Return the normalisation of some of the windows."""
        parts = (None if part is None else part[rows] for part in (self.centre, self.spread, self.observed))
        return Frame(*parts)


def frame_of(values: Tensor, kind: Normalisation, observed: Tensor | None = None) -> Frame:
    """Return the normalisation of windows ``(N, W, C)``; steps that were not observed are ignored, but finite."""
    if kind == "none":
        return Frame(observed=observed)
    if kind == "last":
        return Frame(values[:, -1:], observed=observed)
    count = values.shape[1] if observed is None else observed.sum(1, keepdim=True)
    kept = values if observed is None else values.where(observed, 0.0)
    centre = kept.sum(1, keepdim=True) / count
    if kind == "mean":
        return Frame(centre, observed=observed)
    squares = (kept - centre).square()
    squares = squares if observed is None else squares.where(observed, 0.0)
    spread = (squares.sum(1, keepdim=True) / count).sqrt()
    smallest = (SMALLEST * centre.abs()).clamp(min=torch.finfo(values.dtype).tiny)
    return Frame(centre, spread.maximum(smallest), observed)
