"""The nearest neighbour, the baseline that archives of labelled sequences give beside every result."""

from __future__ import annotations

import torch
from torch import Tensor

from cellstate.data.samples import TensorSamples
from cellstate.metrics.classification import classification_scores

MOST_PRODUCTS = 2e10  # of two numbers: a second or two on one core; beyond, the baseline is left out
BLOCK = 1024  # sequences whose distances are in memory at a time


def nearest_neighbour(training: TensorSamples, reported: TensorSamples, classes: int) -> dict[str, dict[str, float]]:
    """Give each reported sequence the class of the training sequence at the least Euclidean distance.

    Distances are over all steps and features as scaled, shorter sequences continued with the padding's 0, which is
    the training split's mean; of several nearest the first counts. An answer without probabilities has no loss and no
    ranking, so accuracy and f1 are all there is.

    Returns:
        metric -> ``nearest_neighbour`` -> score; nothing where it would take more than MOST_PRODUCTS.
    """
    width = max(training.inputs.shape[1], reported.inputs.shape[1]) * training.inputs.shape[2]
    if len(training) * len(reported) * width > MOST_PRODUCTS:
        return {}
    answers = [training.targets[nearest(training.inputs, part)] for part in reported.inputs.split(BLOCK)]
    logits = torch.nn.functional.one_hot(torch.cat(answers), classes).float()
    scores = classification_scores(logits, reported.targets)
    return {metric: {"nearest_neighbour": scores[metric]} for metric in ("accuracy", "f1")}


def nearest(training: Tensor, queries: Tensor) -> Tensor:
    """Return for each of ``queries (M, T, F)`` which of ``training (N, T', F)`` is nearest, ``(M,)``.

    ``|a - b|^2 = |a|^2 - 2 a.b + |b|^2``, of which the first is the same for all of a query's neighbours.
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
