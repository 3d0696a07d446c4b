"""Choosing the next token from a model's logits."""

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
    """Draw one token a row, ``(B,)``, from ``logits (B, V)``.

    Args:
        logits: unnormalised log-probabilities.
        generator: the source of chance.
        temperature: logits are divided by it before the softmax; 0 takes the likeliest token.
        top_k: only the k likeliest tokens stay.
        top_p: of those, only the fewest that together hold at least this probability stay.

    Raises:
        RequestError: a parameter out of its range.
    """
    sensible = 0 <= temperature < math.inf and (top_k is None or top_k >= 1) and (top_p is None or 0 < top_p <= 1)
    if not sensible:
        raise RequestError(
            f"temperature={temperature}, top_k={top_k}, top_p={top_p}: "
            "temperature is 0 or more and finite, top_k 1 or more, top_p above 0 and at most 1"
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
        # A token stays if those before it do not hold the share yet; the likeliest always stays.
        beyond = probabilities.cumsum(-1) - probabilities >= top_p
        scaled = scaled.masked_fill(beyond.gather(-1, order.argsort(-1)), -torch.inf)
    return torch.multinomial(scaled.softmax(-1), 1, generator=generator).squeeze(-1)
