"""Scores of token predictions, averaged over tokens, and n-gram baselines."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cellstate.metrics.ngrams import Ngrams, occurrences, parts_of
from cellstate.metrics.precision import at_least_single

IGNORED = -100  # target excluded from loss and scores (the ignore_index of torch's cross_entropy)


class TokenScores:
    """Accumulates loss and accuracy of next-token predictions over a split.

    Sums are kept on the device in double precision; a mean is over tokens, never over batches.

    Args:
        device: where predictions come from.
        answer: name of an additional metric, and its first and last target counted from the end of a sequence (1: the
            last): the accuracy on these targets, the main ones of a task. Empty: none.
    """

    def __init__(self, device: torch.device, answer: tuple[str, int, int] | tuple[()] = ()) -> None:
        # MPS does not support float64; there, sums are in single precision.
        precise = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(3, dtype=precise, device=device)  # loss, hits, tokens
        self.answer = answer
        self.answers = torch.zeros(2, dtype=torch.int64, device=device)  # hits, targets of the additional metric

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add predictions ``logits (B, T, V)`` for ``targets (B, T)``; IGNORED targets are excluded."""
        flat = targets.flatten()
        losses = torch.nn.functional.cross_entropy(
            at_least_single(logits.flatten(0, 1)), flat, ignore_index=IGNORED, reduction="none"
        )
        hits = (logits.flatten(0, 1).argmax(-1) == flat).sum()
        counts = (flat != IGNORED).sum()
        self.sums += torch.stack([losses.sum(dtype=self.sums.dtype), hits.to(self.sums), counts.to(self.sums)])
        if self.answer:
            asked = from_the_end(targets, *self.answer[1:])
            self.answers += torch.stack([(logits.argmax(-1) == targets)[asked].sum(), asked.sum()])

    def compute(self) -> dict[str, float]:
        """Return loss (nats per token), bpc (bits per token), perplexity, accuracy, and the additional metric."""
        loss, hits, tokens = self.sums.tolist()
        scores = token_scores(loss / tokens, hits / tokens)
        if not self.answer:
            return scores
        right, asked = self.answers.tolist()
        return {**scores, self.answer[0]: right / asked}


def from_the_end(targets: Tensor, first: int, last: int) -> Tensor:
    """Return the mask ``(B, T)`` of the ``first`` to ``last`` targets, counted from the end of each row.

    1 is the last; IGNORED targets are not counted, so rows may differ in length.
    """
    counted = targets != IGNORED
    number = counted.flip(1).cumsum(1).flip(1)
    return counted & (number <= first) & (number >= last)


def token_scores(loss: float, accuracy: float) -> dict[str, float]:
    """Return metrics from a loss in nats: bpc = loss / ln 2, perplexity = e^loss."""
    perplexity = math.exp(loss) if loss < 700 else math.inf
    return {"loss": loss, "bpc": loss / math.log(2), "perplexity": perplexity, "accuracy": accuracy}


def ngram_scores(train: np.ndarray, text: np.ndarray, symbols: int) -> dict[str, dict[str, float]]:
    """Score n-gram models on ``text (N,)``, estimated on ``train (M,)``.

    uniform: each of the symbols equally likely. unigram, bigram, trigram: the probability of a symbol given the
    previous 0, 1 or 2 (see ``Ngrams``). Every target of ``text`` counts, as for a network; the first one or two have a
    shorter context. Both texts may be memory-mapped: they are processed in parts.

    Returns:
        metric -> model -> score, for loss, bpc, perplexity and accuracy.
    """
    model = Ngrams(train, symbols, longest=2)
    scores = {"uniform": token_scores(math.log(symbols), 1 / symbols)}
    for longest, name in enumerate(("unigram", "bigram", "trigram")):
        total = hits = 0.0
        for size, part in beginnings(text, longest):
            # The score of a context and the symbol after it does not depend on the position.
            pairs, counts = occurrences(parts_of(part, size, symbols), size, symbols)
            contexts, sizes, targets = pairs // symbols, np.full(len(pairs), size), pairs % symbols
            total -= float(counts @ np.log(model.probabilities(contexts, sizes, targets)))
            hits += float(counts @ (model.likeliest(contexts, sizes) == targets))
        scores[name] = token_scores(total / (len(text) - 1), hits / (len(text) - 1))
    return {metric: {name: values[metric] for name, values in scores.items()} for metric in scores["uniform"]}


def beginnings(text: np.ndarray, longest: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each size of context with the part of ``text (N,)`` whose targets have it, preceded by ``size`` tokens.

    The context has ``longest`` tokens, or fewer at the start; the first token is not a target.
    """
    for size in range(1, min(longest, len(text))):
        yield size, text[: size + 1]
    yield longest, text if longest else text[1:]
