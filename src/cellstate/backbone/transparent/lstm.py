"""The LSTM from its equations, forward and backward.

Hochreiter & Schmidhuber (1997) with the forget gate of Gers, Schmidhuber & Cummins (2000). With the input x_t, the
state (h, c), the logistic function s and elementwise products:

    f_t = s(W_f x_t + U_f h_{t-1} + b_f)            forget gate: share of the cell that is kept
    i_t = s(W_i x_t + U_i h_{t-1} + b_i)            input gate: share of the candidate that is written
    o_t = s(W_o x_t + U_o h_{t-1} + b_o)            output gate: share of the cell that is output
    g_t = tanh(W_c x_t + U_c h_{t-1} + b_c)         candidate: new content of the cell
    c_t = f_t * c_{t-1} + i_t * g_t                 cell state
    h_t = o_t * tanh(c_t)                           hidden state, and output

**Backward.** Let L be the loss, e_t the gradient of h_t through the output at t only, and write

    delta_h_t = dL/dh_t      delta_c_t = dL/dc_t      delta_a_t = dL/da_t, a the four arguments of s and tanh

for the total derivatives, which include all later steps. h_t affects L through its output and the four arguments at
t + 1; c_t through h_t and c_{t+1}:

    delta_h_t = e_t + U_f' delta_f_{t+1} + U_i' delta_i_{t+1} + U_o' delta_o_{t+1} + U_c' delta_g_{t+1}
    delta_c_t = delta_h_t * o_t (1 - tanh(c_t)^2) + delta_c_{t+1} * f_{t+1}

starting with the gradients of the final h_T and c_T, added at t = T. With s' = s (1 - s) and tanh' = 1 - tanh^2:

    delta_o_t = delta_h_t * tanh(c_t) * o_t (1 - o_t)
    delta_f_t = delta_c_t * c_{t-1}   * f_t (1 - f_t)
    delta_i_t = delta_c_t * g_t       * i_t (1 - i_t)
    delta_g_t = delta_c_t * i_t       * (1 - g_t^2)

In each line all factors but the first can be computed for all steps at once; one matrix product and four elementwise
operations remain in the loop over time. The weight gradients are sums over time, one product each at the end:

    dL/dW_f = sum_t delta_f_t x_t'      dL/dU_f = sum_t delta_f_t h_{t-1}'      dL/db_f = sum_t delta_f_t

and so on for i, o and c; dL/dx_t = W_f' delta_f_t + W_i' delta_i_t + W_o' delta_o_t + W_c' delta_g_t. The term
delta_c_{t+1} * f_{t+1} is the constant error carousel: along it a gradient passes k steps with the factor
f_{t+1} ... f_{t+k}, independent of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cellstate.backbone.autocast import at_autocast_precision
from cellstate.backbone.padding import SATURATE
from cellstate.backbone.transparent.layer import Layer, State, derived_once, sequence_gradients

NARROW = 512  # rows times units up to which a step of a scan is dominated by call overhead
ORDER = ("o", "f", "i", "c")  # order of the gates in buffers: o, f, i share a sigmoid, and f, i, c the factor delta_c

# sigmoid_backward(a, s) = a * s (1 - s) and tanh_backward(a, t) = a * (1 - t^2)in torch
sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


class Stacked(NamedTuple):
    """The weights of all gates, stacked in ``ORDER``."""

    W: Tensor  # (4H, F)
    U: Tensor  # (4H, H)
    b: Tensor  # (4H,)

    @classmethod
    def of_torch(cls, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Stacked:
        """Convert a torch layer, whose gates are ordered input, forget, candidate, output."""
        parts = [tensor.chunk(4) for tensor in (weight_ih, weight_hh, bias_ih + bias_hh)]
        return cls(*(torch.cat((o, f, i, g)) for i, f, g, o in parts))


class Trace(NamedTuple):
    """All intermediate values of a pass over ``T`` steps, time first."""

    gates: Tensor  # (T, B, 4H), o, f, i and the candidate g
    hidden: Tensor  # (T + 1, B, H), h_0 ... h_T
    cell: Tensor  # (T + 1, B, H), c_0 ... c_T
    squashed: Tensor  # (T, B, H), tanh(c_1) ... tanh(c_T)

    def gate(self, letter: str) -> Tensor:
        """Return one gate of all steps, ``(T, B, H)``: ``f``, ``i``, ``o``, or the candidate, ``c``."""
        return self.gates.chunk(4, dim=-1)[ORDER.index(letter)]


@dataclass(frozen=True)
class Deltas:
    """The derivatives of the loss with respect to the values of a pass, time first."""

    hidden: Tensor  # (T + 1, B, H), dL/dh_0 ... dL/dh_T
    cell: Tensor  # (T + 1, B, H), dL/dc_0 ... dL/dc_T
    gates: Tensor  # (T, B, 4H), dL/da_t, in ORDER


def forward_pass(inputs: Tensor, start: State, weights: Stacked, padding: Tensor | None = None) -> Trace:
    """Run the equations over ``inputs (T, B, F)`` from ``start = (h_0, c_0)``, each ``(B, H)``; see ``Layer.forward``.

    On padding the forget gate is 1 and the input gate 0, so that c is preserved; see ``freeze``.
    """
    steps, rows, _ = inputs.shape
    size = start[0].shape[-1]
    # W x_t + b of all gates and steps: one product
    gates = torch.addmm(weights.b, inputs.reshape(steps * rows, -1), weights.W.t()).view(steps, rows, 4 * size)
    if padding is not None:
        freeze(gates, padding)
    trace = Trace(gates, *(gates.new_empty(steps + extra, rows, size) for extra in (1, 1, 0)))
    trace.hidden[0], trace.cell[0] = start
    hidden, cell, recurrent = trace.hidden.unbind(), trace.cell.unbind(), weights.U.t()
    sigmoids, candidates = gates[..., : 3 * size].unbind(), gates[..., 3 * size :].unbind()
    outs, forgets, writes, _ = (part.unbind() for part in gates.chunk(4, dim=-1))
    for t, (a, tanh_c) in enumerate(zip(gates.unbind(), trace.squashed.unbind(), strict=True)):
        a.addmm_(hidden[t], recurrent)  # a_t = W x_t + b + U h_{t-1}
        sigmoids[t].sigmoid_()  # o_t, f_t, i_t = s(a_t)
        candidates[t].tanh_()  # g_t = tanh(a_t)
        c = torch.mul(forgets[t], cell[t], out=cell[t + 1])  # c_t = f_t * c_{t-1}
        c.addcmul_(writes[t], candidates[t])  #     + i_t * g_t
        torch.tanh(c, out=tanh_c)
        torch.mul(outs[t], tanh_c, out=hidden[t + 1])  # h_t = o_t * tanh(c_t)
    return trace


def retrace(inputs: Tensor, hidden: Tensor, cell: Tensor, weights: Stacked, padding: Tensor | None = None) -> Trace:
    """Return the trace of a pass with known hidden states, such as the outputs of a fast layer.

    With all h_{t-1} known, the arguments of all gates are a sum of two products, and the only recurrence is
    c_t = f_t * c_{t-1} + i_t * g_t, one operation per step.

    Args:
        inputs: ``(T, B, F)``.
        hidden: ``(T + 1, B, H)``, h_0 ... h_T.
        cell: c_0, ``(B, H)``.
        weights: in ``ORDER``.
        padding: as in ``forward_pass``.
    """
    steps, rows, size = len(inputs), *cell.shape
    gates = torch.addmm(weights.b, inputs.reshape(steps * rows, -1), weights.W.t())
    gates = gates.addmm_(hidden[:-1].flatten(0, 1), weights.U.t()).view(steps, rows, 4 * size)
    if padding is not None:
        freeze(gates, padding)
    gates[..., : 3 * size].sigmoid_()
    gates[..., 3 * size :].tanh_()
    _, forget, write, candidate = gates.chunk(4, dim=-1)
    cells = torch.cat([cell.unsqueeze(0), scan(forget, write * candidate, cell)])
    return Trace(gates, hidden, cells, cells[1:].tanh())


def scan(kept: Tensor, written: Tensor, start: Tensor) -> Tensor:
    """Return c_1 ... c_T with c_t = f_t * c_{t-1} + w_t, ``(T, B, H)``, from c_0 ``(B, H)``.

    Time is divided into about sqrt(T) blocks. All blocks are computed in parallel, each from zero, with the products of
    their gates; then they are joined sequentially:

        c_t = c_t from zero + (f_{first of its block} ... f_t) * c_{end of the block before}

    The products of gates do not grow, so there is no division and no overflow. It takes 3 sqrt(T) operations instead of
    T, which is faster for narrow networks, where a step is dominated by call overhead.
    """
    steps, rows, size = written.shape
    block = max(1, round(steps**0.5)) if rows * size <= NARROW else steps
    missing = -steps % block
    if missing:
        kept, written = (torch.cat([part, part.new_zeros(missing, rows, size)]) for part in (kept, written))
    f, w = (part.reshape(-1, block, rows, size) for part in (kept, written))  # (blocks, steps of one, B, H)
    cells, products = torch.empty_like(w), torch.empty_like(w)
    before = torch.zeros_like(w[:, 0]) if len(f) > 1 else start.unsqueeze(0)
    for keeps, writes, after in zip(f.unbind(1), w.unbind(1), cells.unbind(1), strict=True):
        before = torch.addcmul(writes, keeps, before, out=after)
    if len(f) > 1:
        torch.cumprod(f, dim=1, out=products)
        ends = [start]
        for product, end in zip(products[:-1, -1].unbind(), cells[:-1, -1].unbind(), strict=True):
            ends.append(torch.addcmul(end, product, ends[-1]))
        cells.addcmul_(products, torch.stack(ends).unsqueeze(1))
    return cells.flatten(0, 1)[:steps]


def freeze(arguments: Tensor, padding: Tensor) -> None:
    """Set f = 1 and i = 0 on padding ``(T, B)`` through the arguments of all gates ``(T, B, 4H)``, in place.

    Then c_t = c_{t-1} exactly, and s' = 0 in both: only the gradient of c passes, unchanged.
    """
    _, forget, write, _ = arguments.chunk(4, dim=-1)
    forget.masked_fill_(padding.unsqueeze(-1), SATURATE)
    write.masked_fill_(padding.unsqueeze(-1), -SATURATE)


def backward_pass(trace: Trace, recurrent: Tensor, outputs: Tensor | None, final: tuple[Tensor | None, ...]) -> Deltas:
    """Compute the derivatives above from t = T to 1.

    Args:
        trace: of ``forward_pass``.
        recurrent: U, ``(4H, H)``, in ``ORDER``.
        outputs: e_t, ``(T, B, H)``; None if the loss does not depend on the outputs.
        final: the gradients of h_T and c_T, ``(B, H)`` each, or None.
    """
    o, f, i, g = trace.gates.chunk(4, dim=-1)
    delta = Deltas(torch.empty_like(trace.hidden), torch.empty_like(trace.cell), torch.empty_like(trace.gates))
    # The factors of delta_h and delta_c for all steps; the gates are in ORDER.
    factors = torch.empty_like(trace.gates)
    by_o, by_f, by_i, by_g = factors.chunk(4, dim=-1)
    sigmoid_backward(trace.squashed, o, grad_input=by_o)  # tanh(c_t) * o_t (1 - o_t)
    sigmoid_backward(trace.cell[:-1], f, grad_input=by_f)  # c_{t-1} * f_t (1 - f_t)
    sigmoid_backward(g, i, grad_input=by_i)  # g_t * i_t (1 - i_t)
    tanh_backward(i, g, grad_input=by_g)  # i_t * (1 - g_t^2)
    shown = tanh_backward(o, trace.squashed)  # o_t (1 - tanh(c_t)^2)

    begin(delta.hidden, outputs, final[0])
    begin(delta.cell, None, final[1])
    steps, rows, size = trace.squashed.shape
    hidden, cell = delta.hidden.unbind(), delta.cell.unbind()
    slab, factor_slab = (tensor[..., size:].view(steps, rows, 3, size).unbind() for tensor in (delta.gates, factors))
    delta_o, by_o, f, shown, gates = (x.unbind() for x in (delta.gates[..., :size], by_o, f, shown, delta.gates))
    for t in range(steps - 1, -1, -1):  # delta_h_t and delta_c_t are at index t + 1, as 0 is the start
        cell[t + 1].addcmul_(hidden[t + 1], shown[t])  # delta_c_t += delta_h_t * o_t (1 - tanh(c_t)^2)
        torch.mul(hidden[t + 1], by_o[t], out=delta_o[t])  # delta_o_t
        torch.mul(cell[t + 1].unsqueeze(1), factor_slab[t], out=slab[t])  # delta_f_t, delta_i_t, delta_g_t
        torch.mul(cell[t + 1], f[t], out=cell[t])  # delta_c_{t-1} = delta_c_t * f_t, so far
        hidden[t].addmm_(gates[t], recurrent)  # delta_h_{t-1} = e_{t-1} + sum of U' delta_t
    return delta


def begin(delta: Tensor, outputs: Tensor | None, final: Tensor | None) -> None:
    """Initialise ``delta (T + 1, B, H)`` with e_t and the gradient of the final state."""
    if outputs is None:
        delta.zero_()
    else:
        delta[0].zero_()
        delta[1:] = outputs
    if final is not None:
        delta[-1] += final


class LSTMFunction(torch.autograd.Function):
    """The equations as one operation with a custom derivative, without torch's automatic differentiation.

    ``apply(inputs, h_0, c_0, padding, *W, *U, *b)``, the weights in ``ORDER``; returns outputs ``(T, B, H)``, h_T, c_T.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, h: Tensor, c: Tensor, padding: Tensor | None, *weights: Tensor) -> Any:
        """See ``forward_pass``."""
        stacked = Stacked(*(torch.cat(weights[start : start + 4]) for start in (0, 4, 8)))
        trace = forward_pass(inputs, (h, c), stacked, padding)
        ctx.save_for_backward(inputs, stacked.W, stacked.U, *trace)
        ctx.set_materialize_grads(False)
        return trace.hidden[1:], trace.hidden[-1].clone(), trace.cell[-1].clone()

    @staticmethod
    @derived_once
    def backward(ctx: Any, outputs: Tensor | None, h: Tensor | None, c: Tensor | None) -> Any:
        """See ``backward_pass``; double differentiation is rejected."""
        inputs, weight, recurrent, *saved = ctx.saved_tensors
        trace = Trace(*saved)
        delta = backward_pass(trace, recurrent, outputs, (h, c))
        d_inputs, d_weight = sequence_gradients(delta.gates, inputs, weight, wanted=ctx.needs_input_grad[0])
        _, d_recurrent = sequence_gradients(delta.gates, trace.hidden[:-1], recurrent, wanted=False)
        stacked = d_weight, d_recurrent, delta.gates.sum((0, 1))
        return d_inputs, delta.hidden[0], delta.cell[0], None, *(part for whole in stacked for part in whole.chunk(4))


class LSTMLayer(Layer):
    """One layer of the LSTM in one direction: ``W_f U_f b_f W_i U_i b_i W_o U_o b_o W_c U_c b_c``."""

    gates = ("i", "f", "c", "o")

    def forward(self, inputs: Tensor, state: State, padding: Tensor | None = None) -> tuple[Tensor, State]:
        """See ``Layer.forward``; the state is ``(h, c)``."""
        weights = [at_autocast_precision(parameter) for letter in "WUb" for parameter in self.family(letter, ORDER)]
        outputs, h, c = LSTMFunction.apply(inputs, *state, padding, *weights)
        return outputs, (h, c)
