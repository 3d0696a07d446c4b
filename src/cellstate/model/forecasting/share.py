"""The weight of the linear forecast against that of the network, and the width of intervals, chosen by a validation.

The weight with the lowest validation loss would do if the split were large. On a short one, whose windows overlap, a
network that is no better than the linear map looks better by chance at some weight and in some of many validations. The
network therefore takes part only if it improves on the linear forecast significantly: by a one-sided paired t-test over
blocks of windows, each as long as the horizon, so that few values are in two blocks.

A network that has seen few windows often is too sure of them, and the distribution is moved to another location: the
width is calibrated afterwards, by the loss of the head, pinball or likelihood.
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
WIDTHS = (0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0)  # factors of the distances between quantiles
LEVEL = 0.9  # of the one-sided test
MOST_BLOCKS = 100


def chosen(model: Forecaster, kept: Kept, *, tested: bool = True) -> tuple[float, float]:
    """Return the weight, and the width of the predicted distribution around it, with the lowest loss.

    Args:
        model: the forecaster.
        kept: of the whole validation split of this process.
        tested: whether the weight is 1 unless another is significantly better.
    """
    share = best_of(model, kept, [(share, 1.0) for share in SHARES])[0]
    if share < 1 and tested:
        gains = [gain for part in gather(block_gains(model, kept, share)) for gain in part]
        share = share if significant(gains) else 1.0
    if not model.kind.metrics:  # a point has no width
        return share, 1.0
    return best_of(model, kept, [(share, width) for width in WIDTHS])


def best_of(model: Forecaster, kept: Kept, candidates: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the candidate, a weight and a width, with the lowest loss over the splits of all processes."""
    losses = torch.zeros(len(candidates), dtype=torch.float64, device=model.device)
    for forecast, line, batch in kept:
        found = [model.loss(model.combined(forecast, line, *candidate), batch) for candidate in candidates]
        losses += torch.stack(found).double() * len(batch.inputs)
    total = model.trainer.strategy.reduce(losses, reduce_op="sum")
    assert isinstance(total, Tensor)
    return candidates[int(total.argmin())]


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
