"""Scores of a language model: mean over tokens, in nats and in bits, and what n-gram counts reach."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

IGNORED = -100  # a target that no loss and no score counts (the value that torch's cross_entropy ignores)


class TokenScores:
    """Accumulates the loss and the hits of next-token predictions over a split.

    Sums are kept on the device in double precision; a mean is over tokens, never over batches.
    """

    def __init__(self, device: torch.device) -> None:
        # MPS has no doubles; there, single precision sums of one batch at a time are what is left.
        precise = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(3, dtype=precise, device=device)  # loss, hits, tokens

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add predictions ``logits (B, T, V)`` for ``targets (B, T)``; targets of IGNORED do not count."""
        flat = targets.flatten()
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), flat, ignore_index=IGNORED, reduction="none"
        )
        hits = (logits.flatten(0, 1).argmax(-1) == flat).sum()
        counts = (flat != IGNORED).sum()
        self.sums += torch.stack([losses.sum(dtype=self.sums.dtype), hits.to(self.sums), counts.to(self.sums)])

    def compute(self) -> dict[str, float]:
        """Return loss (nats a token), bpc (bits a token), perplexity and accuracy."""
        loss, hits, tokens = self.sums.tolist()
        return token_scores(loss / tokens, hits / tokens)


def token_scores(loss: float, accuracy: float) -> dict[str, float]:
    """Return the four views of one loss in nats: bits are loss / ln 2, perplexity is e^loss."""
    perplexity = math.exp(loss) if loss < 700 else math.inf
    return {"loss": loss, "bpc": loss / math.log(2), "perplexity": perplexity, "accuracy": accuracy}


def ngram_scores(train: np.ndarray, text: np.ndarray, symbols: int) -> dict[str, dict[str, float]]:
    """Score models that need no network, on ``text (N,)``, with counts from ``train (M,)`` alone.

    uniform: each of the symbols equally likely. unigram, bigram, trigram: the probability of a symbol given the
    0, 1 or 2 before it, by interpolation with the shorter context as Witten & Bell (1991) weigh it:

        p(s | context) = (count(context, s) + kinds(context) * p(s | shorter context)) / (count(context) + kinds)

    where kinds(context) is how many different symbols followed it. Every target of ``text`` counts, as for a
    network; the first one or two have a shorter context.

    Returns:
        metric -> model -> score, for loss, bpc, perplexity and accuracy.
    """
    train, text = train.astype(np.int64), text.astype(np.int64)
    scores = {"uniform": token_scores(math.log(symbols), 1 / symbols)}
    # probabilities (positions, symbols) are never built whole: the text is worked off in pieces.
    tables = [_counts(train, order, symbols) for order in range(3)]
    for order, name in enumerate(("unigram", "bigram", "trigram")):
        loss, hits = 0.0, 0
        for start in range(1, len(text), 20_000):
            positions = np.arange(start, min(start + 20_000, len(text)))
            probabilities = _probabilities(tables, text, positions, order, symbols)
            truth = text[positions]
            loss -= float(np.log(probabilities[np.arange(len(truth)), truth]).sum())
            hits += int((probabilities.argmax(1) == truth).sum())
        scores[name] = token_scores(loss / (len(text) - 1), hits / (len(text) - 1))
    return {metric: {name: values[metric] for name, values in scores.items()} for metric in scores["uniform"]}


def _counts(tokens: np.ndarray, order: int, symbols: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the contexts of ``order`` symbols that occur, sorted, ``(K,)``, and what followed each, ``(K, V)``."""
    contexts = _contexts(tokens, np.arange(order, len(tokens)), order, symbols)
    known, rows = np.unique(contexts, return_inverse=True)
    cells = np.bincount(rows * symbols + tokens[order:], minlength=len(known) * symbols)
    return known, cells.reshape(len(known), symbols)


def _contexts(tokens: np.ndarray, positions: np.ndarray, order: int, symbols: int) -> np.ndarray:
    """Return the ``order`` symbols before each position as one number."""
    code = np.zeros(len(positions), dtype=np.int64)
    for back in range(order, 0, -1):
        code = code * symbols + tokens[positions - back]
    return code


def _probabilities(
    tables: list[tuple[np.ndarray, np.ndarray]], text: np.ndarray, positions: np.ndarray, order: int, symbols: int
) -> np.ndarray:
    """Return p(symbol | up to ``order`` symbols before) at each position, ``(P, V)``."""
    result = np.full((len(positions), symbols), 1.0 / symbols)
    for depth in range(order + 1):
        known, counts = tables[depth]
        contexts = _contexts(text, np.maximum(positions, depth), depth, symbols)
        rows = np.minimum(np.searchsorted(known, contexts), len(known) - 1)
        seen = (known[rows] == contexts) & (positions >= depth)
        found = counts[rows[seen]]
        kinds = (found > 0).sum(1, keepdims=True)
        result[seen] = (found + kinds * result[seen]) / (found.sum(1, keepdims=True) + kinds)
    return result
