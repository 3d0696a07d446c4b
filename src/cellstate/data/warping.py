"""Dynamic time warping distances (Sakoe & Chiba, 1978) of many pairs of sequences."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BAND = 0.1  # half-width of the Sakoe-Chiba band, relative to the longest sequence
CELLS = 2**20  # per anti-diagonal, over all pairs processed together: a few MiB


def band_of(lengths: Tensor, others: Tensor) -> int:
    """Return the half-width of the band in steps: BAND of the longest sequence, plus the difference in length."""
    every = torch.cat((lengths, others))
    shortest, longest = (int(bound) for bound in every.aminmax())
    return math.ceil(BAND * longest) + longest - shortest


def cells(steps: int, other_steps: int, band: int) -> int:
    """Return an upper bound of the number of cells in the band."""
    return min(steps * other_steps, max(steps, other_steps) * (2 * band + 1))


def warping_distances(queries: Tensor, others: Tensor, lengths: Tensor, other_lengths: Tensor, band: int) -> Tensor:
    """Return the squared distances ``(M, N)`` of queries ``(M, T, F)`` to others ``(N, S, F)``.

    D(i, j) = |q_i - o_j|^2 + min(D(i-1, j), D(i, j-1), D(i-1, j-1)) for |i - j| <= band, infinite outside; the distance
    is D at the last valid step of both. All features are warped equally.

    All pairs are processed in parallel by anti-diagonals i + j = k, as each depends only on the previous two.

    Args:
        queries, others: sequences, padded at the end with finite values.
        lengths, other_lengths: valid steps, ``(M,)`` and ``(N,)``.
        band: half-width, in steps.
    """
    width = min(band + 1, queries.shape[1])
    rows = max(1, CELLS // (width * len(others)))
    parts = zip(queries.split(rows), (lengths - 1).split(rows), strict=True)
    return torch.cat([_block(part, others, last, other_lengths - 1, band) for part, last in parts])


def _block(queries: Tensor, others: Tensor, ends: Tensor, other_ends: Tensor, band: int) -> Tensor:
    """Return the distances of a block of queries, whose anti-diagonals fit into memory.

    Row i + 1 of a diagonal contains the cells (i, k - i); those outside the band are infinite.
    """
    steps, other_steps = queries.shape[1], others.shape[1]
    ahead = queries.permute(1, 2, 0).unsqueeze(-1).contiguous()  # (T, F, M, 1)
    back = others.flip(1).permute(1, 2, 0).unsqueeze(-2).contiguous()  # (S, F, 1, N), from the last step to the first
    shape = (steps + 2, len(queries), len(others))
    before, last, now = (torch.full(shape, torch.inf) for _ in range(3))
    before[0] = 0  # before the first cell
    found = torch.full(shape[1:], torch.inf)
    finals = ends.unsqueeze(1) + other_ends  # (M, N), the last diagonal of each pair ...
    finals.masked_fill_((ends.unsqueeze(1) - other_ends).abs() > band, -1)  # ... none if it ends outside the band
    done = set(finals.unique().tolist())
    for k in range(steps + other_steps - 1):
        low = max(0, k - other_steps + 1, -((band - k) // 2))
        high = min(k, steps - 1, (k + band) // 2)
        now[low], now[high + 2] = torch.inf, torch.inf
        inside = now[low + 1 : high + 2]
        torch.minimum(last[low + 1 : high + 2], last[low : high + 1], out=inside)
        torch.minimum(inside, before[low : high + 1], out=inside)
        opposite = back[other_steps - 1 - k + low : other_steps - k + high]
        for feature in range(queries.shape[2]):
            inside += (ahead[low : high + 1, feature] - opposite[:, feature]).square_()
        if k in done:
            found = torch.where(finals == k, now.gather(0, (ends + 1).view(1, -1, 1).expand(1, *shape[1:]))[0], found)
        before, last, now = last, now, before
    return found
