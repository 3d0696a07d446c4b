"""The weight of the linear forecast against that of the network, chosen by a validation.

The weight with the lowest validation loss would do if the split were large. On a short one, whose windows overlap, a
network that is no better than the linear map looks better by chance at some weight and in some of many validations. The
network therefore takes part only if it improves on the linear forecast significantly: by a one-sided paired t-test over
blocks of windows, each as long as the horizon, so that few values are in two blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cellstate.data.batch import Batch
from cellstate.distributed.exchange import gather
from cellstate.metrics.statistics import student_quantile

if TYPE_CHECKING:
    from cellstate.model.forecasting.model import Forecaster

Kept = Sequence[tuple[Tensor, Tensor, Batch]]
"""Forecasts of the network, linear ones, and their batches, in the order of the split."""
SHARES = tuple(step / 10 for step in range(11))  # weights of the linear forecast
LEVEL = 0.9  # of the one-sided test
MOST_BLOCKS = 100


def chosen_share(model: Forecaster, kept: Kept, *, tested: bool = True) -> float:
    """Return the weight with the lowest loss; if ``tested``, 1 if that is not significantly better than 1."""
    losses = model.trainer.strategy.reduce(losses_of_shares(model, kept), reduce_op="sum")
    assert isinstance(losses, Tensor)
    best = SHARES[int(losses.argmin())]
    if best == 1 or not tested:
        return best
    gains = [gain for part in gather(block_gains(model, kept, best)) for gain in part]
    return best if significant(gains) else 1.0


def losses_of_shares(model: Forecaster, kept: Kept) -> Tensor:
    """Return the summed loss for each of SHARES, ``(11,)``."""
    losses = torch.zeros(len(SHARES), dtype=torch.float64, device=model.device)
    for forecast, line, batch in kept:
        found = [model.loss(model.combined(forecast, line, share), batch) for share in SHARES]
        losses += torch.stack(found).double() * len(batch.inputs)
    return losses


def block_gains(model: Forecaster, kept: Kept, share: float) -> list[float]:
    """Return by how much the loss of each block of windows is lower with ``share`` than with the linear forecast."""
    forecasts, lines, batches = zip(*kept, strict=True)
    forecast, line = torch.cat(forecasts), torch.cat(lines)
    inputs, targets = (torch.cat([batch[part] for batch in batches]) for part in (0, 1))
    count = max(1, min(MOST_BLOCKS, len(inputs) // model.spec.horizon))
    gains = []
    for rows in torch.arange(len(inputs), device=inputs.device).tensor_split(count):
        batch = Batch(inputs[rows], targets[rows])
        mixed = model.loss(model.combined(forecast[rows], line[rows], share), batch)
        gains.append(model.loss(model.combined(forecast[rows], line[rows], 1.0), batch) - mixed)
    return torch.stack(gains).double().tolist()


def significant(gains: Sequence[float]) -> bool:
    """Return whether the mean of independent gains is above 0, at LEVEL; a single one is no evidence."""
    if len(gains) < 2:
        return False
    error = float(np.std(gains, ddof=1)) / len(gains) ** 0.5
    return float(np.mean(gains)) > student_quantile(len(gains) - 1, 2 * LEVEL - 1) * error
