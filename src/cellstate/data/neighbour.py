"""One-nearest-neighbour classification, the standard baseline of time series archives."""

from __future__ import annotations

import torch
from torch import Tensor

from cellstate.data.samples import TensorSamples
from cellstate.metrics.classification import classification_scores

MOST_PRODUCTS = 2e10  # a second or two on one core; the baseline is skipped beyond
BLOCK = 1024  # sequences per block of distances


def nearest_neighbour(training: TensorSamples, reported: TensorSamples, classes: int) -> dict[str, dict[str, float]]:
    """Classify each reported sequence like the training sequence at the smallest Euclidean distance.

    Distances are over all steps and scaled features; shorter sequences are padded with 0, the mean of the training
    split; ties go to the first. Without probabilities there are no loss and auroc, only accuracy and f1.

    Returns:
        metric -> ``nearest_neighbour`` -> score; empty beyond MOST_PRODUCTS.
    """
    width = max(training.inputs.shape[1], reported.inputs.shape[1]) * training.inputs.shape[2]
    if len(training) * len(reported) * width > MOST_PRODUCTS:
        return {}
    answers = [training.targets[nearest(training.inputs, part)] for part in reported.inputs.split(BLOCK)]
    logits = torch.nn.functional.one_hot(torch.cat(answers), classes).float()
    scores = classification_scores(logits, reported.targets)
    return {metric: {"nearest_neighbour": scores[metric]} for metric in ("accuracy", "f1")}


def nearest(training: Tensor, queries: Tensor) -> Tensor:
    """Return the index of the nearest of ``training (N, T', F)`` to each of ``queries (M, T, F)``, ``(M,)``.

    ``|a - b|^2 = |a|^2 - 2 a.b + |b|^2``, where the first term is constant for a query.
    """
    steps = max(training.shape[1], queries.shape[1])
    rows = flat(queries, steps)
    best, found = torch.full((len(rows),), torch.inf).double(), torch.zeros(len(rows), dtype=torch.long)
    for number, part in enumerate(training.split(BLOCK)):
        others = flat(part, steps)
        distances, places = torch.addmm(others.square().sum(1), rows, others.T, alpha=-2).min(1)
        closer = distances < best
        best, found = distances.where(closer, best), (places + number * BLOCK).where(closer, found)
    return found


def flat(inputs: Tensor, steps: int) -> Tensor:
    """Return ``(N, steps * F)`` in double precision, padded with 0."""
    return torch.nn.functional.pad(inputs.double(), (0, 0, 0, steps - inputs.shape[1])).flatten(1)
