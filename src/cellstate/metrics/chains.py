"""Markov chains fitted to separate sequences, the baselines of next-state prediction."""

from __future__ import annotations

import numpy as np

from cellstate.metrics.ngrams import Ngrams
from cellstate.metrics.tokens import IGNORED, token_scores

Steps = tuple[np.ndarray, np.ndarray]
"""Inputs ``(N, T)`` and targets ``(N, T)``, indices of one alphabet; IGNORED targets are excluded."""

ORDERS = (0, 1, 2, 3)


def chain_scores(train: Steps, scored: Steps, symbols: int, orders: tuple[int, ...] = ORDERS) -> dict[str, dict]:
    """Score chains of several orders on ``scored``, estimated on ``train``.

    A chain of order k uses the last k inputs, or fewer at the start of a sequence: contexts do not span sequences.
    Orders are interpolated with lower ones (Witten & Bell 1991, see ``Ngrams``). Order 0 is called ``unigram``, the
    others ``chain_1``, ``chain_2``, …; orders whose contexts exceed 63 bits are omitted.

    Returns:
        metric -> model -> score, for loss, bpc, perplexity and accuracy.
    """
    found = {}
    for order in orders:
        if symbols ** (order + 1) >= 2**63:
            continue
        model = Ngrams.of_contexts(*pairs(train, order, symbols), symbols)
        contexts, sizes, targets = pairs(scored, order, symbols)
        chances = model.probabilities(contexts, sizes, targets)
        hits = model.likeliest(contexts, sizes) == targets
        name = f"chain_{order}" if order else "unigram"
        found[name] = token_scores(-float(np.log(chances).mean()), float(hits.mean()))
    return {metric: {name: values[metric] for name, values in found.items()} for metric in token_scores(0, 0)}


def pairs(steps: Steps, order: int, symbols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return context, its size, and target of each counted target, ``(P,)`` each.

    A context is a number whose digits are the last inputs, the newest last.
    """
    inputs, targets = (part.astype(np.int64) for part in steps)
    counted = targets != IGNORED
    contexts = np.zeros_like(inputs)
    for back in range(min(order, inputs.shape[1])):
        contexts[:, back:] += inputs[:, : inputs.shape[1] - back] * symbols**back
    sizes = np.broadcast_to(np.minimum(np.arange(1, inputs.shape[1] + 1), order), inputs.shape)
    return contexts[counted], sizes[counted], targets[counted]
