"""Views of a sequence: its values, standardised within the sequence, and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from cellstate.errors import RequestError, did_you_mean

View = Literal["values", "standardised", "differences"]
FAINT = 1e-3  # standard deviation of an almost constant feature, in units of that of the training split


class Views(nn.Module):
    """Concatenates several views of each sequence as features.

    For a feature x with mean m and standard deviation s over the valid steps of one sequence:

    - ``values``: x, as level and scale may distinguish classes;
    - ``standardised``: z_t = (x_t - m) / sqrt(s^2 + FAINT^2), the shape, independent of level and scale;
    - ``differences``: z_t - z_(t-1), 0 at the first step, divided by their root mean square in the sequence.

    Padding does not affect them, and is 0 in all of them.

    Args:
        features: F, of the inputs.
        views: in this order.

    Raises:
        RequestError: an unknown view, or none.
    """

    def __init__(self, features: int, views: Sequence[View]) -> None:
        super().__init__()
        for view in views:
            if view not in get_args(View):
                known = get_args(View)
                raise RequestError(f"model.views={view}: unknown view{did_you_mean(view, known)}")
        if not views:
            raise RequestError(f"model.views: give at least one of {', '.join(get_args(View))}")
        self.views, self.output_size = tuple(views), features * len(views)

    def forward(self, inputs: Tensor, padding: Tensor | None = None) -> Tensor:
        """Return ``(B, T, F * views)`` for inputs ``(B, T, F)``; ``padding (B, T, 1)`` bool, or None."""
        values = cleared(inputs, padding)
        found = {"values": values}
        if len(self.views) > 1 or "values" not in self.views:
            found["standardised"] = standardised(values, padding)
        if "differences" in self.views:
            found["differences"] = differences(found["standardised"], padding)
        return torch.cat([found[view] for view in self.views], dim=-1)


def cleared(values: Tensor, padding: Tensor | None) -> Tensor:
    """Return values with the padding set to 0."""
    return values if padding is None else values.masked_fill(padding, 0)


def mean_over(values: Tensor, padding: Tensor | None) -> Tensor:
    """Return the mean over the valid steps, ``(B, 1, F)``, of values ``(B, T, F)`` that are 0 on the padding."""
    if padding is None:
        return values.mean(1, keepdim=True)
    return values.sum(1, keepdim=True) / (~padding).sum(1, keepdim=True)


def variance(values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return values ``(B, T, F)`` minus their mean over the valid steps of each sequence, and their variance."""
    centred = cleared(values - mean_over(values, padding), padding)
    return centred, mean_over(centred.square(), padding)


def standardised(values: Tensor, padding: Tensor | None) -> Tensor:
    """Return ``(B, T, F)`` with mean 0 and standard deviation 1 over the valid steps of each sequence and feature."""
    centred, square = variance(values, padding)
    return centred * torch.rsqrt(square + FAINT**2)


def differences(values: Tensor, padding: Tensor | None) -> Tensor:
    """Return the change from the previous step, 0 at the first, divided by its root mean square in the sequence."""
    change = cleared(nn.functional.pad(values[:, 1:] - values[:, :-1], (0, 0, 1, 0)), padding)
    return change * torch.rsqrt(mean_over(change.square(), padding) + FAINT**2)
