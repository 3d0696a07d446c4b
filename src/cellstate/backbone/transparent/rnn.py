"""The simple recurrent network from its equation, forward and backward.

Elman (1990), with phi = tanh or relu:

    h_t = phi(W_h x_t + U_h h_{t-1} + b_h)

**Backward.** With e_t the gradient of h_t through the output at t only and delta for total derivatives, as in ``lstm``,
and phi' = 1 - h_t^2 for tanh, or 1 if h_t > 0 else 0 for relu:

    delta_h_t = e_t + U_h' delta_a_{t+1}            delta_a_t = delta_h_t * phi'_t

    dL/dW_h = sum_t delta_a_t x_t'      dL/dU_h = sum_t delta_a_t h_{t-1}'      dL/db_h = sum_t delta_a_t

Over k steps a gradient is multiplied by k factors U' diag(phi'): it vanishes or explodes with the singular values of U
(Bengio et al. 1994; Pascanu et al. 2013). There is no term like the LSTM's that passes it on unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from cellstate.backbone.autocast import at_autocast_precision
from cellstate.backbone.transparent.layer import Layer, State, derived_once, sequence_gradients
from cellstate.backbone.transparent.lstm import begin

Nonlinearity = Literal["tanh", "relu"]


class Stacked(NamedTuple):
    """The weights of the one gate."""

    W: Tensor  # (H, F)
    U: Tensor  # (H, H)
    b: Tensor  # (H,)

    @classmethod
    def of_torch(cls, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Stacked:
        """Convert a torch layer."""
        return cls(weight_ih, weight_hh, bias_ih + bias_hh)


class Trace(NamedTuple):
    """All intermediate values of a pass over ``T`` steps, time first."""

    hidden: Tensor  # (T + 1, B, H), h_0 ... h_T


@dataclass(frozen=True)
class Deltas:
    """The derivatives of the loss with respect to the values of a pass, time first."""

    hidden: Tensor  # (T + 1, B, H), dL/dh_0 ... dL/dh_T
    gates: Tensor  # (T, B, H), dL/da_t


def forward_pass(
    inputs: Tensor, start: State, weights: Stacked, phi: Nonlinearity, padding: Tensor | None = None
) -> Trace:
    """Run the equation over ``inputs (T, B, F)`` from ``start = (h_0,)``, ``(B, H)``; see ``Layer.forward``.

    On padding h is 0: with relu it could overflow there.
    """
    steps, rows, _ = inputs.shape
    hidden = inputs.new_empty(steps + 1, *start[0].shape)
    hidden[0] = start[0]
    torch.addmm(weights.b, inputs.reshape(steps * rows, -1), weights.W.t(), out=hidden[1:].flatten(0, 1))
    states, recurrent = hidden.unbind(), weights.U.t()
    squash = Tensor.tanh_ if phi == "tanh" else Tensor.relu_
    ended = None if padding is None else padding.unsqueeze(-1).unbind()
    for t in range(steps):
        h = squash(states[t + 1].addmm_(states[t], recurrent))  # h_t = phi(W x_t + b + U h_{t-1})
        if ended is not None:
            h.masked_fill_(ended[t], 0)
    return Trace(hidden)


def backward_pass(
    trace: Trace,
    recurrent: Tensor,
    outputs: Tensor | None,
    final: tuple[Tensor | None, ...],
    phi: Nonlinearity,
    padding: Tensor | None = None,
) -> Deltas:
    """Compute the derivatives above from t = T to 1.

    Args:
        trace: of ``forward_pass``.
        recurrent: U, ``(H, H)``.
        outputs: e_t, ``(T, B, H)``; None if the loss does not depend on the outputs.
        final: the gradient of h_T, ``(B, H)``, or None.
        phi: the nonlinearity.
        padding: as in ``forward_pass``.
    """
    values = trace.hidden[1:]
    factors = 1 - values * values if phi == "tanh" else (values > 0).to(values.dtype)  # phi'_t
    if padding is not None:
        factors.masked_fill_(padding.unsqueeze(-1), 0)
    delta = Deltas(torch.empty_like(trace.hidden), torch.empty_like(values))
    begin(delta.hidden, outputs, final[0])
    hidden, by, gates = delta.hidden.unbind(), factors.unbind(), delta.gates.unbind()
    for t in range(len(values) - 1, -1, -1):  # delta_h_t is at index t + 1, as 0 is the start
        torch.mul(hidden[t + 1], by[t], out=gates[t])  # delta_a_t = delta_h_t * phi'_t
        hidden[t].addmm_(gates[t], recurrent)  # delta_h_{t-1} = e_{t-1} + U' delta_a_t
    return delta


class RNNFunction(torch.autograd.Function):
    """The equation as one operation with a custom derivative, without torch's automatic differentiation.

    ``apply(inputs, h_0, padding, phi, W, U, b)``; returns outputs ``(T, B, H)`` and h_T.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, h: Tensor, padding: Tensor | None, phi: Nonlinearity, *weights: Tensor
    ) -> Any:
        """See ``forward_pass``."""
        stacked = Stacked(*weights)
        trace = forward_pass(inputs, (h,), stacked, phi, padding)
        ctx.save_for_backward(inputs, stacked.W, stacked.U, padding, *trace)
        ctx.phi = phi
        ctx.set_materialize_grads(False)
        return trace.hidden[1:], trace.hidden[-1].clone()

    @staticmethod
    @derived_once
    def backward(ctx: Any, outputs: Tensor | None, h: Tensor | None) -> Any:
        """See ``backward_pass``; double differentiation is rejected."""
        inputs, weight, recurrent, padding, *saved = ctx.saved_tensors
        trace = Trace(*saved)
        delta = backward_pass(trace, recurrent, outputs, (h,), ctx.phi, padding)
        d_inputs, d_weight = sequence_gradients(delta.gates, inputs, weight, wanted=ctx.needs_input_grad[0])
        _, d_recurrent = sequence_gradients(delta.gates, trace.hidden[:-1], recurrent, wanted=False)
        return d_inputs, delta.hidden[0], None, None, d_weight, d_recurrent, delta.gates.sum((0, 1))


class RNNLayer(Layer):
    """One layer of the simple recurrent network in one direction: ``W_h U_h b_h``."""

    gates = ("h",)

    def __init__(self, input_size: int, hidden_size: int, nonlinearity: Nonlinearity = "tanh") -> None:
        super().__init__(input_size, hidden_size)
        self.nonlinearity: Nonlinearity = nonlinearity

    def forward(self, inputs: Tensor, state: State, padding: Tensor | None = None) -> tuple[Tensor, State]:
        """See ``Layer.forward``; the state is ``(h,)``."""
        weights = [at_autocast_precision(parameter) for letter in "WUb" for parameter in self.family(letter)]
        outputs, h = RNNFunction.apply(inputs, *state, padding, self.nonlinearity, *weights)
        return outputs, (h,)
