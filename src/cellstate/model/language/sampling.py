"""Sampling the next token from logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cellstate.errors import RequestError

COLDEST = 1e-300  # below it, logits divided by the temperature would be infinite


def choose(
    logits: Tensor,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """Sample one token per row, ``(B,)``, from ``logits (B, V)``.

    Args:
        logits: unnormalised log-probabilities.
        generator: the random number generator.
        temperature: divisor of the logits; 0 takes the likeliest token.
        top_k: keep only the k likeliest tokens.
        top_p: of those, keep only the fewest with at least this total probability.

    Raises:
        RequestError: a parameter is out of range.
    """
    sensible = 0 <= temperature < math.inf and (top_k is None or top_k >= 1) and (top_p is None or 0 < top_p <= 1)
    if not sensible:
        raise RequestError(
            f"temperature={temperature}, top_k={top_k}, top_p={top_p}: "
            "temperature must be 0 or more and finite, top_k 1 or more, top_p above 0 and at most 1"
        )
    if temperature < COLDEST:
        return logits.argmax(-1)
    scaled = logits.double() / temperature
    if top_k is not None and top_k < scaled.shape[-1]:
        least = scaled.topk(top_k).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    if top_p is not None:
        ordered, order = scaled.sort(descending=True)
        probabilities = ordered.softmax(-1)
        # A token is kept if the total of the likelier ones is below top_p; the likeliest is always kept.
        beyond = probabilities.cumsum(-1) - probabilities >= top_p
        scaled = scaled.masked_fill(beyond.gather(-1, order.argsort(-1)), -torch.inf)
    return torch.multinomial(scaled.softmax(-1), 1, generator=generator).squeeze(-1)
