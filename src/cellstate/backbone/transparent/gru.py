"""The gated recurrent unit from its equations, forward and backward.

Cho et al. (2014), in the form that torch and cuDNN compute, in which the reset gate acts after the product with U_n.
With the logistic function s and elementwise products:

    r_t = s(W_r x_t + U_r h_{t-1} + b_r)            reset gate: what of the past the candidate sees
    z_t = s(W_z x_t + U_z h_{t-1} + b_z)            update gate: what is kept
    m_t = U_n h_{t-1} + b_hn                        the past, as the candidate would see it
    n_t = tanh(W_n x_t + b_n + r_t * m_t)           candidate
    h_t = (1 - z_t) * n_t + z_t * h_{t-1}           hidden state, and output

**Backwards.** With e_t = dL/dh_t by the output at t alone, and delta for whole derivatives, as in ``lstm``; h_t acts on
L by its output, through r, z and m at t + 1, and through the last term of h_{t+1}:

    delta_h_t = e_t + delta_h_{t+1} * z_{t+1} + U_r' delta_r_{t+1} + U_z' delta_z_{t+1} + U_n' delta_m_{t+1}

    delta_n_t = delta_h_t * (1 - z_t) (1 - n_t^2)                       by the argument of tanh
    delta_m_t = delta_n_t * r_t
    delta_r_t = delta_n_t * m_t * r_t (1 - r_t)
    delta_z_t = delta_h_t * (h_{t-1} - n_t) * z_t (1 - z_t)

All four are delta_h_t times something known beforehand for all steps. The weight gradients are products at the end:
dL/dU_n = sum_t delta_m_t h_{t-1}' and dL/db_hn = sum_t delta_m_t, but dL/dW_n = sum_t delta_n_t x_t' and
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

ORDER = ("r", "z", "n")  # the gates in our buffers, as in torch's


class Stacked(NamedTuple):
    """The weights of all gates in one matrix each, from top to bottom in ``ORDER``."""

    W: Tensor  # (3H, F)
    U: Tensor  # (3H, H)
    b: Tensor  # (3H,)
    b_hn: Tensor  # (H,)


class Trace(NamedTuple):
    """All that a pass over ``T`` steps went through; time first."""

    gates: Tensor  # (T, B, 3H), r, z and the candidate n, side by side
    hidden: Tensor  # (T + 1, B, H), h_0 ... h_T
    past: Tensor  # (T, B, H), m_t

    def gate(self, letter: str) -> Tensor:
        """Return one gate of all steps, ``(T, B, H)``: ``r``, ``z``, or the candidate, ``n``."""
        return self.gates.chunk(3, dim=-1)[ORDER.index(letter)]


@dataclass(frozen=True)
class Deltas:
    """The derivatives of the loss with respect to all that a pass went through; time first."""

    hidden: Tensor  # (T + 1, B, H), dL/dh_0 ... dL/dh_T
    gates: Tensor  # (T, B, 3H), of the arguments of r and z, and of m: what U is the weight of
    candidate: Tensor  # (T, B, H), of the argument of n


def forward_pass(inputs: Tensor, start: State, weights: Stacked, padding: Tensor | None = None) -> Trace:
    """Run the equations over ``inputs (T, B, F)`` from ``start = (h_0,)``, ``(B, H)``; see ``Layer.forward``.

    On padding z is 1, so that h stays what it was, to the bit, and no gradient passes but that of h, unchanged.
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


def backward_pass(trace: Trace, recurrent: Tensor, outputs: Tensor | None, final: tuple[Tensor | None, ...]) -> Deltas:
    """Run the derivation above from t = T to 1.

    Args:
        trace: what ``forward_pass`` gave.
        recurrent: U, ``(3H, H)``, in ``ORDER``.
        outputs: e_t, ``(T, B, H)``; None where the outputs have no part in the loss.
        final: the gradient of h_T, ``(B, H)``, or None.
    """
    r, z, n = trace.gates.chunk(3, dim=-1)
    # What delta_h is multiplied with, of all steps at once.
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
    for t in range(steps - 1, -1, -1):  # delta_h_t stands at t + 1, as 0 is the start
        torch.mul(hidden[t + 1].unsqueeze(1), factor_slab[t], out=slab[t])  # delta_r_t, delta_z_t, delta_m_t
        hidden[t].addcmul_(hidden[t + 1], z[t])  # delta_h_{t-1} = e_{t-1} + delta_h_t * z_t
        hidden[t].addmm_(gates[t], recurrent)  #     + sum of U' delta_t
    return Deltas(all_hidden, deltas, all_hidden[1:] * by_n)


class GRUFunction(torch.autograd.Function):
    """The equations as one operation with a derivative of its own: nothing in it is differentiated by torch.

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
        """See ``backward_pass``; gradients of the gradients are refused."""
        inputs, weight, recurrent, *saved = ctx.saved_tensors
        trace = Trace(*saved)
        delta = backward_pass(trace, recurrent, outputs, (h,))
        _, d_recurrent = sequence_gradients(delta.gates, trace.hidden[:-1], recurrent, wanted=False)
        past = delta.gates.chunk(3, dim=-1)[2]
        d_b_hn = past.sum((0, 1))
        past.copy_(delta.candidate)  # from here on n, and not m: what W is the weight of
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
    def stacked(self) -> Stacked:
        """Return the weights as ``forward_pass`` takes them."""
        return Stacked(*map(torch.cat, map(self.family, "WUb")), b_hn=self.b_hn)

    @torch.no_grad()
    def take_over(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        """Take the values of a layer of torch; of the biases of r and z only the sum counts, those of n stay two."""
        sums, own = bias_hh.clone(), bias_hh[2 * self.hidden_size :]
        sums[2 * self.hidden_size :] = 0
        super().take_over(weight_ih, weight_hh, bias_ih, sums)
        self.b_hn.copy_(own)

    @torch.no_grad()
    def as_torch_has_them(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return ``weight_ih, weight_hh, bias_ih, bias_hh``; ``bias_hh`` is zero but for n."""
        *others, bias_hh = super().as_torch_has_them()
        bias_hh[2 * self.hidden_size :] = self.b_hn
        return others[0], others[1], others[2], bias_hh
