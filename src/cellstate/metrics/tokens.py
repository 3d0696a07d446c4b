"""Scores of a language model: mean over tokens, in nats and in bits, and what n-gram counts reach."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from cellstate.metrics.ngrams import Ngrams, contexts_of

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
    0, 1 or 2 before it, as ``Ngrams`` has it. Every target of ``text`` counts, as for a network; the first one or
    two have a shorter context.

    Returns:
        metric -> model -> score, for loss, bpc, perplexity and accuracy.
    """
    model = Ngrams(train, symbols, longest=2)
    text = text.astype(np.int64)
    scores = {"uniform": token_scores(math.log(symbols), 1 / symbols)}
    for longest, name in enumerate(("unigram", "bigram", "trigram")):
        contexts, sizes = contexts_of(text, longest, symbols)
        chances = model.probabilities(contexts[1:], sizes[1:], text[1:])
        hits = model.likeliest(contexts[1:], sizes[1:]) == text[1:]
        scores[name] = token_scores(-float(np.log(chances).mean()), float(hits.mean()))
    return {metric: {name: values[metric] for name, values in scores.items()} for metric in scores["uniform"]}
