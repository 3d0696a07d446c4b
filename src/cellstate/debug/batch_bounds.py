"""Bounds of the error on one batch: that of the best constant prediction, and the minimum of any network.

The minimum is not always zero: if identical inputs (or identical prefixes, for tokens) have different targets, the
spread of the targets among identical inputs remains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cellstate.data.batch import Batch
from cellstate.metrics.tokens import IGNORED


@dataclass(frozen=True)
class Bounds:
    """Errors on a batch: cross-entropy in nats per target, or squared error of scaled targets.

    Attributes:
        constant: error of the best constant prediction.
        possible: error of the best function of the inputs that a network has seen.
    """

    constant: float
    possible: float


def bounds_of(batch: Batch) -> Bounds:
    """Return the bounds of a batch, whose targets are classes ``(B,)``, tokens ``(B, T)`` or values ``(B, …)``.

    A class or value may depend on the entire sequence, the token after a step on all steps up to it.
    """
    inputs, targets = batch.inputs.cpu().numpy(), batch.targets.cpu().numpy()
    if batch.targets.is_floating_point():
        values = targets.reshape(len(targets), -1).astype(np.float64)
        return Bounds(spread(np.zeros(len(values), int), values), spread(sequence_groups(batch), values))
    if targets.ndim == 1:
        return Bounds(entropy(np.zeros_like(targets), targets), entropy(sequence_groups(batch), targets))
    counts = targets != IGNORED
    answers = targets[counts]
    return Bounds(entropy(np.zeros_like(answers), answers), entropy(prefix_groups(inputs)[counts], answers))


def sequence_groups(batch: Batch) -> np.ndarray:
    """Return a group number for each sequence ``(B,)``, equal for sequences that are equal up to their lengths."""
    inputs = batch.inputs.cpu().numpy()
    rows = inputs.reshape(len(inputs), inputs.shape[1], -1).astype(np.float64)
    if batch.lengths is not None:
        lengths = batch.lengths.cpu().numpy()
        rows = np.where(np.arange(rows.shape[1])[None, :, None] < lengths[:, None, None], rows, np.nan)
        rows = np.nan_to_num(rows, nan=np.inf)  # no input is infinite
    return numbered(rows.reshape(len(rows), -1))


def prefix_groups(inputs: np.ndarray) -> np.ndarray:
    """Return a group number for each step of ``inputs (B, T)`` or ``(B, T, K)``, equal for equal prefixes."""
    steps = inputs.reshape(*inputs.shape[:2], -1)
    found, before = np.zeros(inputs.shape[:2], int), np.zeros(len(inputs), int)
    for step in range(steps.shape[1]):
        before = numbered(np.column_stack((before, steps[:, step])))
        found[:, step] = before + step * len(inputs)  # distinct for each length
    return found


def numbered(rows: np.ndarray) -> np.ndarray:
    """Return a group number below N for each of ``rows (N, F)``, equal for equal rows."""
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def entropy(groups: np.ndarray, targets: np.ndarray) -> float:
    """Return the empirical conditional entropy of ``targets (N,)`` given ``groups (N,)``, in nats."""
    pairs, counts = np.unique(np.column_stack((groups, targets)), axis=0, return_counts=True)
    group = np.unique(pairs[:, 0], return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(group, weights=counts)[group]
    return float(-(counts * np.log(counts / sizes)).sum() / max(1, counts.sum()))


def spread(groups: np.ndarray, values: np.ndarray) -> float:
    """Return the mean squared distance of ``values (N, K)`` from their group means."""
    sizes = np.bincount(groups)[groups][:, None]
    sums = np.zeros((groups.max(initial=0) + 1, values.shape[1]))
    np.add.at(sums, groups, values)
    return float(((values - sums[groups] / sizes) ** 2).mean())
