"""The gated recurrent unit from its equations, forward and backward.

Cho et al. (2014), in the form of torch and cuDNN, in which the reset gate is applied after the product with U_n.
With the logistic function s and elementwise products:

    r_t = s(W_r x_t + U_r h_{t-1} + b_r)            reset gate: share of the past in the candidate
    z_t = s(W_z x_t + U_z h_{t-1} + b_z)            update gate: share of the state that is kept
    m_t = U_n h_{t-1} + b_hn                        the past, before the reset gate
    n_t = tanh(W_n x_t + b_n + r_t * m_t)           candidate
    h_t = (1 - z_t) * n_t + z_t * h_{t-1}           hidden state, and output

**Backward.** With e_t the gradient of h_t through the output at t only, and delta for total derivatives, as in
``lstm``; h_t affects L through its output, through r, z and m at t + 1, and through the last term of h_{t+1}:

    delta_h_t = e_t + delta_h_{t+1} * z_{t+1} + U_r' delta_r_{t+1} + U_z' delta_z_{t+1} + U_n' delta_m_{t+1}

    delta_n_t = delta_h_t * (1 - z_t) (1 - n_t^2)                       of the argument of tanh
    delta_m_t = delta_n_t * r_t
    delta_r_t = delta_n_t * m_t * r_t (1 - r_t)
    delta_z_t = delta_h_t * (h_{t-1} - n_t) * z_t (1 - z_t)

All four are delta_h_t times factors that can be computed for all steps at once. The weight gradients are products at
the end: dL/dU_n = sum_t delta_m_t h_{t-1}' and dL/db_hn = sum_t delta_m_t, but dL/dW_n = sum_t delta_n_t x_t' and
dL/db_n = sum_t delta_n_t, which is why this network needs two biases for n; r and z have one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cellstate.backbone.autocast import at_autocast_precision
from cellstate.backbone.padding import SATURATE
from cellstate.backbone.transparent.layer import Layer, State, derived_once, sequence_gradients
from cellstate.backbone.transparent.lstm import begin, sigmoid_backward, tanh_backward

ORDER = ("r", "z", "n")  # order of the gates in buffers, as in torch


class Stacked(NamedTuple):
    """The weights of all gates, stacked in ``ORDER``."""

    W: Tensor  # (3H, F)
    U: Tensor  # (3H, H)
    b: Tensor  # (3H,)
    b_hn: Tensor  # (H,)

    @classmethod
    def of_torch(cls, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Stacked:
        """Convert a torch layer, whose gates are in the same order."""
        sums = bias_hh.clone()
        size = len(sums) // 3
        sums[2 * size :] = 0
        return cls(weight_ih, weight_hh, bias_ih + sums, bias_hh[2 * size :])


class Trace(NamedTuple):
    """All intermediate values of a pass over ``T`` steps, time first."""

    gates: Tensor  # (T, B, 3H), r, z and the candidate n
    hidden: Tensor  # (T + 1, B, H), h_0 ... h_T
    past: Tensor  # (T, B, H), m_t

    def gate(self, letter: str) -> Tensor:
        """Return one gate of all steps, ``(T, B, H)``: ``r``, ``z``, or the candidate, ``n``."""
        return self.gates.chunk(3, dim=-1)[ORDER.index(letter)]


@dataclass(frozen=True)
class Deltas:
    """The derivatives of the loss with respect to the values of a pass, time first."""

    hidden: Tensor  # (T + 1, B, H), dL/dh_0 ... dL/dh_T
    gates: Tensor  # (T, B, 3H), of the arguments of r and z, and of m: the terms with U
    candidate: Tensor  # (T, B, H), of the argument of n


def forward_pass(inputs: Tensor, start: State, weights: Stacked, padding: Tensor | None = None) -> Trace:
    """Run the equations over ``inputs (T, B, F)`` from ``start = (h_0,)``, ``(B, H)``; see ``Layer.forward``.

    On padding z is 1, so that h is preserved exactly, and only the gradient of h passes, unchanged.
    """
    steps, rows, _ = inputs.shape
    size = start[0].shape[-1]
    # W x_t + b of all gates and steps: one product
    gates = torch.addmm(weights.b, inputs.reshape(steps * rows, -1), weights.W.t()).view(steps, rows, 3 * size)
    if padding is not None:
        gates[..., size : 2 * size].masked_fill_(padding.unsqueeze(-1), SATURATE)
    trace = Trace(gates, gates.new_empty(steps + 1, rows, size), gates.new_empty(steps, rows, size))
    trace.hidden[0] = start[0]
    hidden, sigmoids = trace.hidden.unbind(), gates[..., : 2 * size].unbind()
    resets, updates, candidates = (part.unbind() for part in gates.chunk(3, dim=-1))
    of_sigmoids, of_candidate = weights.U.t().split([2 * size, size], dim=1)
    for t, m in enumerate(trace.past.unbind()):
        sigmoids[t].addmm_(hidden[t], of_sigmoids).sigmoid_()  # r_t, z_t = s(W x_t + b + U h_{t-1})
        torch.addmm(weights.b_hn, hidden[t], of_candidate, out=m)  # m_t = U_n h_{t-1} + b_hn
        n = candidates[t].addcmul_(resets[t], m).tanh_()  # n_t = tanh(W_n x_t + b_n + r_t * m_t)
        torch.lerp(n, hidden[t], updates[t], out=hidden[t + 1])  # h_t = n_t + z_t * (h_{t-1} - n_t)
    return trace


def retrace(inputs: Tensor, hidden: Tensor, weights: Stacked, padding: Tensor | None = None) -> Trace:
    """Return the trace of a pass with known hidden states h_0 ... h_T ``(T + 1, B, H)``; see ``lstm.retrace``."""
    steps, rows, size = len(inputs), *hidden.shape[1:]
    gates = torch.addmm(weights.b, inputs.reshape(steps * rows, -1), weights.W.t())
    before = hidden[:-1].flatten(0, 1)
    gates[:, : 2 * size].addmm_(before, weights.U[: 2 * size].t())
    past = torch.addmm(weights.b_hn, before, weights.U[2 * size :].t())
    reset, update, candidate = gates.chunk(3, dim=-1)
    if padding is not None:
        update.masked_fill_(padding.reshape(-1, 1), SATURATE)
    gates[:, : 2 * size].sigmoid_()
    candidate.addcmul_(reset, past).tanh_()
    return Trace(gates.view(steps, rows, 3 * size), hidden, past.view(steps, rows, size))


def backward_pass(trace: Trace, recurrent: Tensor, outputs: Tensor | None, final: tuple[Tensor | None, ...]) -> Deltas:
    """Compute the derivatives above from t = T to 1.

    Args:
        trace: of ``forward_pass``.
        recurrent: U, ``(3H, H)``, in ``ORDER``.
        outputs: e_t, ``(T, B, H)``; None if the loss does not depend on the outputs.
        final: the gradient of h_T, ``(B, H)``, or None.
    """
    r, z, n = trace.gates.chunk(3, dim=-1)
    # The factors of delta_h for all steps.
    by_n = tanh_backward(1 - z, n)  # (1 - z_t) (1 - n_t^2)
    factors = torch.empty_like(trace.gates)
    by_r, by_z, by_m = factors.chunk(3, dim=-1)
    sigmoid_backward(by_n * trace.past, r, grad_input=by_r)  # ... * m_t * r_t (1 - r_t)
    sigmoid_backward(trace.hidden[:-1] - n, z, grad_input=by_z)  # (h_{t-1} - n_t) * z_t (1 - z_t)
    torch.mul(by_n, r, out=by_m)  # ... * r_t

    steps, rows, size = trace.past.shape
    deltas, all_hidden = torch.empty_like(trace.gates), torch.empty_like(trace.hidden)
    begin(all_hidden, outputs, final[0])
    hidden, gates, z = all_hidden.unbind(), deltas.unbind(), z.unbind()
    slab, factor_slab = (tensor.view(steps, rows, 3, size).unbind() for tensor in (deltas, factors))
    for t in range(steps - 1, -1, -1):  # delta_h_t is at index t + 1, as 0 is the start
        torch.mul(hidden[t + 1].unsqueeze(1), factor_slab[t], out=slab[t])  # delta_r_t, delta_z_t, delta_m_t
        hidden[t].addcmul_(hidden[t + 1], z[t])  # delta_h_{t-1} = e_{t-1} + delta_h_t * z_t
        hidden[t].addmm_(gates[t], recurrent)  #     + sum of U' delta_t
    return Deltas(all_hidden, deltas, all_hidden[1:] * by_n)


class GRUFunction(torch.autograd.Function):
    """The equations as one operation with a custom derivative, without torch's automatic differentiation.

    ``apply(inputs, h_0, padding, *W, *U, *b, b_hn)``, the weights in ``ORDER``; returns outputs ``(T, B, H)`` and h_T.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, h: Tensor, padding: Tensor | None, *weights: Tensor) -> Any:
        """See ``forward_pass``."""
        stacked = Stacked(torch.cat(weights[:3]), torch.cat(weights[3:6]), torch.cat(weights[6:9]), weights[9])
        trace = forward_pass(inputs, (h,), stacked, padding)
        ctx.save_for_backward(inputs, stacked.W, stacked.U, *trace)
        ctx.set_materialize_grads(False)
        return trace.hidden[1:], trace.hidden[-1].clone()

    @staticmethod
    @derived_once
    def backward(ctx: Any, outputs: Tensor | None, h: Tensor | None) -> Any:
        """See ``backward_pass``; double differentiation is rejected."""
        inputs, weight, recurrent, *saved = ctx.saved_tensors
        trace = Trace(*saved)
        delta = backward_pass(trace, recurrent, outputs, (h,))
        _, d_recurrent = sequence_gradients(delta.gates, trace.hidden[:-1], recurrent, wanted=False)
        past = delta.gates.chunk(3, dim=-1)[2]
        d_b_hn = past.sum((0, 1))
        past.copy_(delta.candidate)  # from here on n instead of m: the terms with W
        d_inputs, d_weight = sequence_gradients(delta.gates, inputs, weight, wanted=ctx.needs_input_grad[0])
        stacked = d_weight, d_recurrent, delta.gates.sum((0, 1))
        return d_inputs, delta.hidden[0], None, *(part for whole in stacked for part in whole.chunk(3)), d_b_hn


class GRULayer(Layer):
    """One layer of the GRU in one direction: ``W_r U_r b_r W_z U_z b_z W_n U_n b_n`` and ``b_hn``."""

    gates = ORDER

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.b_hn = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, inputs: Tensor, state: State, padding: Tensor | None = None) -> tuple[Tensor, State]:
        """See ``Layer.forward``; the state is ``(h,)``."""
        weights = [parameter for letter in "WUb" for parameter in self.family(letter)]
        outputs, h = GRUFunction.apply(
            inputs, *state, padding, *(at_autocast_precision(parameter) for parameter in (*weights, self.b_hn))
        )
        return outputs, (h,)

    @torch.no_grad()
    def load_torch(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        """Copy the weights of a torch layer; of the biases of r and z only the sum matters, n has two."""
        sums, own = bias_hh.clone(), bias_hh[2 * self.hidden_size :]
        sums[2 * self.hidden_size :] = 0
        super().load_torch(weight_ih, weight_hh, bias_ih, sums)
        self.b_hn.copy_(own)

    @torch.no_grad()
    def torch_parameters(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return ``weight_ih, weight_hh, bias_ih, bias_hh``; where ``bias_hh`` is zero except for n."""
        *others, bias_hh = super().torch_parameters()
        bias_hh[2 * self.hidden_size :] = self.b_hn
        return others[0], others[1], others[2], bias_hh
