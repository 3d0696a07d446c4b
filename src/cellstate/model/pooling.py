"""Pooling the outputs of a sequence to one vector: last, mean, maximum, or attention."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from cellstate.backbone import Backbone, last_outputs
from cellstate.errors import RequestError, did_you_mean

PoolingKind = Literal["last", "mean", "max", "attention"]


class Pooling(nn.Module):
    """Pools the valid steps of a backbone's outputs ``(B, T, D)`` to one vector ``(B, D)``.

    ``last``: the output after the last valid step; with a bidirectional backbone the forward direction's last and the
    backward direction's first, so that both have read the entire sequence. ``mean`` and ``max``: over the valid steps.
    ``attention``: a mean with learned weights, additive attention with one query for all sequences (Bahdanau et al.,
    ICLR 2015, in the form of Yang et al., NAACL 2016):

        u_t = tanh(W h_t + b),   a_t = exp(u_t . q) / sum over valid s of exp(u_s . q),   vector = sum over t of a_t h_t

    The padding has no effect on the vector, and its gradient is exactly 0.

    Args:
        backbone: whose outputs are pooled; only its sizes are used.
        how: the kind of pooling.

    Raises:
        RequestError: the kind is unknown.
    """

    def __init__(self, backbone: Backbone, how: PoolingKind = "last") -> None:
        super().__init__()
        if how not in get_args(PoolingKind):
            raise RequestError(f"model.pooling={how}: unknown pooling{did_you_mean(how, get_args(PoolingKind))}")
        self.how, self.bidirectional = how, backbone.bidirectional
        if how == "attention":
            self.projection = nn.Linear(backbone.output_size, backbone.output_size)  # W, b
            self.query = nn.Linear(backbone.output_size, 1, bias=False)  # q

    def forward(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return ``(B, D)`` for outputs ``(B, T, D)`` and valid steps ``(B,)`` (None: all)."""
        if self.how == "last":
            return self._last(outputs, lengths)
        padding = None if lengths is None else padded_steps(outputs, lengths)
        if self.how == "max":
            return (outputs if padding is None else outputs.masked_fill(padding, -torch.inf)).amax(1)
        cleared = outputs if padding is None else outputs.masked_fill(padding, 0)
        if self.how == "attention":
            return (self._weights(cleared, padding) * cleared).sum(1)
        return cleared.mean(1) if lengths is None else cleared.sum(1) / lengths.to(outputs).unsqueeze(1)

    def weights(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the attention weight of each step ``(B, T)``: 0 on the padding, summing to 1 in each row.

        Raises ValueError for another kind of pooling.
        """
        if self.how != "attention":
            raise ValueError(f"pooling={self.how} has no weights; choose attention")
        if lengths is None:
            return self._weights(outputs, None).squeeze(-1)
        padding = padded_steps(outputs, lengths)
        return self._weights(outputs.masked_fill(padding, 0), padding).squeeze(-1)

    def _weights(self, cleared: Tensor, padding: Tensor | None) -> Tensor:
        scores = self.query(torch.tanh(self.projection(cleared)))  # (B, T, 1)
        return (scores if padding is None else scores.masked_fill(padding, -torch.inf)).softmax(1)

    def _last(self, outputs: Tensor, lengths: Tensor | None) -> Tensor:
        last = last_outputs(outputs, lengths)
        if not self.bidirectional:
            return last
        # The backward direction has read the entire sequence at the first step.
        half = outputs.shape[-1] // 2
        return torch.cat((last[:, :half], outputs[:, 0, half:]), dim=-1)


def padded_steps(outputs: Tensor, lengths: Tensor) -> Tensor:
    """Return ``(B, T, 1)`` bool, true on the padding of ``outputs (B, T, D)``."""
    steps = torch.arange(outputs.shape[1], device=outputs.device)
    return (steps >= lengths.to(outputs.device).unsqueeze(1)).unsqueeze(-1)
