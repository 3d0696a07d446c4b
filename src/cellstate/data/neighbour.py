"""One-nearest-neighbour classification, the standard baseline of time series archives."""

from __future__ import annotations

import torch
from torch import Tensor

from cellstate.data.samples import TensorSamples
from cellstate.data.warping import band_of, cells, warping_distances
from cellstate.metrics.classification import classification_scores

MOST_PRODUCTS = 2e10  # a second or two on one core; the baseline is skipped beyond
MOST_CELLS = 1e10  # of all pairs and features: some ten seconds on one core; likewise
BLOCK = 1024  # sequences per block of distances


def nearest_neighbour(training: TensorSamples, reported: TensorSamples, classes: int) -> dict[str, dict[str, float]]:
    """Classify each reported sequence like the nearest training sequence; ties go to the first.

    ``nearest_neighbour`` takes the Euclidean distance over all steps and scaled features, shorter sequences padded with
    0, the mean of the training split; ``nearest_neighbour_dtw`` the distance under dynamic time warping within a
    Sakoe-Chiba band, see ``warping``. Without probabilities there are no loss and auroc, only accuracy and f1.

    Returns:
        metric -> name -> score; without the one beyond MOST_PRODUCTS, and the other beyond MOST_CELLS.
    """
    (steps, features), band = training.inputs.shape[1:], band_of(training.valid_steps, reported.valid_steps)
    pairs, longest = len(training) * len(reported), max(steps, reported.inputs.shape[1])
    found: dict[str, Tensor] = {}
    if pairs * features * longest <= MOST_PRODUCTS:
        parts = [nearest(training.inputs, part) for part in reported.inputs.split(BLOCK)]
        found["nearest_neighbour"] = torch.cat(parts)
    if pairs * features * cells(steps, reported.inputs.shape[1], band) <= MOST_CELLS:
        found["nearest_neighbour_dtw"] = nearest_warped(training, reported, band)
    table: dict[str, dict[str, float]] = {"accuracy": {}, "f1": {}}
    for name, places in found.items():
        logits = torch.nn.functional.one_hot(training.targets[places], classes).float()
        scores = classification_scores(logits, reported.targets)
        for metric, values in table.items():
            values[name] = scores[metric]
    return table


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


def nearest_warped(training: TensorSamples, queries: TensorSamples, band: int) -> Tensor:
    """Return the index of the training sequence that is nearest under time warping to each query, ``(M,)``."""
    distances = warping_distances(queries.inputs, training.inputs, queries.valid_steps, training.valid_steps, band)
    return distances.argmin(1)
