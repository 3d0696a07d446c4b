"""Seasonal naive forecasts as a base for a network to correct."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SeasonalBase(nn.Module):
    """A weighted mean of seasonal naive forecasts, one for each season that fits into the window.

    Step h (from 0) of season s repeats the value ``s (h // s + 1)`` steps before it. The weights are a softmax, learned
    with the network; seasons before the start of a padded window get no weight. Without a season: the last value.

    Args:
        seasons: steps per season, such as 24 and 168; those longer than ``window`` are ignored.
        window: input steps.
        horizon: output steps.
    """

    rows: Tensor

    def __init__(self, seasons: Sequence[int], window: int, horizon: int) -> None:
        super().__init__()
        held = [season for season in seasons if 1 < season <= window]
        steps = torch.arange(horizon)
        rows = [window - season + steps % season for season in held] or [torch.full((horizon,), window - 1)]
        self.register_buffer("rows", torch.stack(rows), persistent=False)  # (S, horizon) of the window
        self.logits = nn.Parameter(torch.zeros(len(rows)))

    def forward(self, window: Tensor, observed: Tensor | None = None) -> Tensor:
        """Return the forecast ``(N, horizon, C)`` from windows ``(N, W, C)``."""
        repeated = window[:, self.rows]  # (N, S, horizon, C)
        weights = self.logits.softmax(0)[:, None, None]
        if observed is None:
            return (weights * repeated).sum(1)
        weights = weights * observed[:, self.rows]
        total = weights.sum(1)
        base = (weights * repeated).sum(1) / total.clamp(min=torch.finfo(window.dtype).tiny)
        return base.where(total > 0, window[:, -1:])


def seasonal_naive(window: Tensor, season: int, horizon: int) -> Tensor:
    """Return the seasonal naive forecast ``(N, horizon, C)``; the last value where the window holds no whole season."""
    season = season if season <= window.shape[1] else 1
    return window[:, window.shape[1] - season + torch.arange(horizon, device=window.device) % season]
