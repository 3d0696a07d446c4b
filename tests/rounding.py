"""How far apart two computations of one number may lie, from the arithmetic alone."""

from __future__ import annotations

import math

import torch

SURE = 4.0  # in units of what is usual: exceeded by chance in 7 of 10,000 sums


def rounding(terms: int, dtype: torch.dtype = torch.float32) -> float:
    """Return by how much two orders of summation may differ, relative to the largest of the numbers that are summed.

    A batch of another size, a processor with other vector units and another number of threads add up in another order.
    A sum of n terms is then off by ``SURE * sqrt(n) * u`` with the unit roundoff u, half of epsilon (Higham and Mary
    2019, A New Approach to Probabilistic Rounding Error Analysis, theorem 2.4); two sums lie twice as far apart.

    Args:
        terms: of the longest chain of sums: steps * (inputs + units) of a recurrent layer, and the units of the head.
        dtype: what is computed in.
    """
    return SURE * math.sqrt(terms) * torch.finfo(dtype).eps
