"""Linear readouts of states, for the recall curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class LinearReadouts:
    """Linear readouts of the same states for any targets; the normal equations are factorised once."""

    def __init__(self, states: Tensor, used: Tensor, fitting: Tensor, testing: Tensor, ridge: float) -> None:
        self.used, self.fitting, self.testing = used, fitting, testing
        known = states[fitting][used[fitting]].double()
        self.mean, std = known.mean(0), known.std(0, correction=0)
        self.std = torch.where(std > 0, std, 1.0)
        self.states = (states.double() - self.mean) / self.std
        design = self.states[fitting][used[fitting]]
        penalty = ridge * len(design) * torch.eye(design.shape[1], dtype=torch.float64, device=design.device)
        self.factor = torch.linalg.cholesky(design.T @ design + penalty)
        self.design = design

    def scores(self, targets: Tensor, delays: Sequence[int], symbols: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return gains and weights of each testing sequence at each delay, ``(N, K)`` each."""
        gains, weights = [], []
        count = self.used[self.testing].double()
        for lag in delays:
            moved = torch.roll(targets, lag, dims=1)  # the steps that wrap around are not used
            known = moved[self.fitting][self.used[self.fitting]]
            offset = known.mean(0)
            readout = torch.cholesky_solve(self.design.T @ (known - offset), self.factor)
            read, truth = self.states[self.testing] @ readout + offset, moved[self.testing]
            if symbols:
                gain, weight = (read.argmax(-1) == truth.argmax(-1)).double() * count, count
            else:
                spread = (truth - offset).square().sum(-1) * count
                gain, weight = spread - (truth - read).square().sum(-1) * count, spread
            gains.append(gain.sum(1))
            weights.append(weight.sum(1))
        return torch.stack(gains, 1).cpu().numpy(), torch.stack(weights, 1).cpu().numpy()


def majority_scores(
    targets: Tensor, used: Tensor, fitting: Tensor, testing: Tensor, delays: Sequence[int]
) -> np.ndarray:
    """Return the accuracy of the fitting sequences' most frequent symbol on the others, at each delay."""
    found = []
    for lag in delays:
        moved = torch.roll(targets, lag, dims=1)
        commonest = moved[fitting][used[fitting]].sum(0).argmax()
        found.append(moved[testing][used[testing]][:, commonest].mean().item())
    return np.array(found)
