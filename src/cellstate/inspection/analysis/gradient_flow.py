"""How the gradient of a loss flows back through time, and where it vanishes or explodes.

For every step and layer, the total derivatives dL/dh_t and dL/dc_t, including all paths through later steps, as
computed by backpropagation through time (Hochreiter 1991; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio
2013). They come from the backward passes derived in ``cellstate.backbone.transparent``, applied to the traces of the
fast layers; for a user-defined backbone from autograd, step by step.

The carry path is the part of the gradient that passes from c_T to c_t directly along the cells,

    dc_T / dc_t = f_{t+1} * ... * f_T,   log of it = sum of log f_s over s = t + 1 ... T

in which weights appear only through the gates (Hochreiter & Schmidhuber 1997; Gers et al. 2000). A GRU has the same
path in h, with its update gate z.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellstate.backbone.transparent import gru, lstm, rnn
from cellstate.inspection.analysis import custom
from cellstate.inspection.analysis.states import Direction, LayerStates, States

STRAIGHT = 0.9  # smallest R^2 of a line through the log norms for which its slope is reported
LEVEL = math.log(2)  # or largest distance from the line, nats: within a factor of 2


@dataclass(frozen=True)
class LineFit:
    """A line fitted to the logs of the gradient's norms, against steps back."""

    slope: float  # nats per step back; NaN with fewer than two steps
    r2: float  # share of explained variance; NaN if the variance is 0
    apart: float  # largest distance of a log norm from the line, nats
    low: float  # logs of the smallest and the largest norm, means over the sequences
    high: float

    @property
    def straight(self) -> bool:
        """Whether the slope describes the norms: R^2 >= 0.9, or all norms within a factor of 2 of the line."""
        return self.r2 >= STRAIGHT or self.apart <= LEVEL


@dataclass(frozen=True)
class LayerFlow:
    """The gradients of one layer in one direction, in the order of the inputs; zero on padding.

    For a backward layer, "back" is towards the end: its gradient at t comes from the steps before t.
    """

    name: str  # l0, l0_reverse ...
    layer: int
    direction: Direction
    valid: Tensor  # (B, T) bool
    hidden: Tensor  # (B, T, H), dL/dh_t
    cell: Tensor | None  # (B, T, H), dL/dc_t; None without cell state
    carry: Tensor | None  # (B, T, H), sum of the logs of the forget or update gates after t; None without them

    def norms(self, part: str = "hidden") -> Tensor:
        """Return the 2-norms over the units of ``hidden`` or ``cell``, ``(B, T)``; NaN on padding."""
        gradient = self.hidden if part == "hidden" else self.cell
        if gradient is None:
            raise ValueError(f"{self.name} has no {part} state")
        return gradient.double().norm(dim=-1).masked_fill(~self.valid, torch.nan)

    def mean_log_norm(self, part: str = "hidden") -> Tensor:
        """Return the mean over the sequences of the log of ``norms``, ``(T,)``; NaN without sequences.

        A norm of 0, at steps that the loss does not depend on, gives -inf. Sequences whose norm is 0 at all steps,
        for example at the minimum of the loss, are left out.
        """
        logs = self.norms(part).log()
        return logs[(logs > -torch.inf).any(1)].nanmean(0)

    def slope(self, part: str = "hidden", first: int = 0, last: int | None = None) -> float:
        """Return the change of the log norm per step back, fitted to steps ``first`` ... ``last``.

        Negative: the gradient vanishes, positive: it explodes. For a linear network it tends to the log of the spectral
        radius of U. Steps with zero gradient are left out; NaN if fewer than two remain.
        """
        return self.fit(part, first, last).slope

    def fit(self, part: str = "hidden", first: int = 0, last: int | None = None) -> LineFit:
        """Return that line with its goodness of fit."""
        logs = self.mean_log_norm(part).cpu().numpy()
        steps = np.arange(len(logs))
        stop = len(logs) if last is None else last + 1
        used = np.isfinite(logs) & (steps >= first) & (steps < stop)
        if not used.any():
            return LineFit(*[math.nan] * 5)
        steps, logs = steps[used], logs[used]
        low, high = float(logs.min()), float(logs.max())
        if len(logs) < 2:
            return LineFit(math.nan, math.nan, math.nan, low, high)
        grown, offset = np.polyfit(steps, logs, 1)
        off, spread = logs - (offset + grown * steps), float(np.square(logs - logs.mean()).sum())
        r2 = 1 - float(np.square(off).sum()) / spread if spread > 0 else math.nan
        slope = float(-grown if self.direction == "forward" else grown)
        return LineFit(slope, r2, float(np.abs(off).max()), low, high)


@dataclass(frozen=True)
class GradientFlow:
    """The gradients of all layers and directions, and of the inputs."""

    layers: tuple[LayerFlow, ...]  # from bottom to top, forward before backward
    inputs: Tensor  # (B, T, F), dL/dx_t

    def arrays(self) -> dict[str, np.ndarray]:
        """Return ``l0.dh_norm``, ``l0.dc_norm``, ``l0.carry`` (mean over units) ..., each ``(B, T)``, for ``.npz``."""
        found: dict[str, Tensor] = {}
        for layer in self.layers:
            found[f"{layer.name}.dh_norm"] = layer.norms()
            if layer.cell is not None:
                found[f"{layer.name}.dc_norm"] = layer.norms("cell")
            if layer.carry is not None:
                found[f"{layer.name}.carry"] = layer.carry.mean(-1).masked_fill(~layer.valid, torch.nan)
        return {name: tensor.cpu().numpy() for name, tensor in found.items()}


@torch.no_grad()
def gradient_flow(states: States, outputs: Tensor) -> GradientFlow:
    """Backpropagate a gradient through all layers.

    Args:
        states: from ``open_states``.
        outputs: dL/d outputs of the network, ``(B, T, D)``; ignored on padding.
    """
    top = states.layers[-1].layer
    flows: list[LayerFlow] = []
    gradient = outputs.to(states.outputs)
    for depth in range(top, -1, -1):
        ways = [layer for layer in states.layers if layer.layer == depth]
        parts = gradient.chunk(len(ways), dim=-1)
        walked = [_walk(layer, part) for layer, part in zip(ways, parts, strict=True)]
        flows = [flow for flow, _ in walked] + flows
        gradient = torch.stack([below for _, below in walked]).sum(0)
    return GradientFlow(tuple(flows), gradient)


def loss_flow(network: Callable[[Tensor], Tensor], states: States) -> GradientFlow:
    """Return the flow of a loss that is a function of the network's outputs.

    Args:
        network: from outputs ``(B, T, D)`` to the loss ``()``.
        states: from ``open_states``.
    """
    with torch.enable_grad():
        outputs = states.outputs.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(outputs), outputs)
    return gradient_flow(states, gradient)


def carry_path(keeping: Tensor) -> Tensor:
    """Return the sum of log f over all later steps, ``(T, B, H)``, for gates ``(T, B, H)``, in reading order."""
    logs = keeping.log()
    later = torch.zeros_like(logs)
    later[:-1] = logs[1:].flip(0).cumsum(0).flip(0)
    return later


def _walk(states: LayerStates, outputs: Tensor) -> tuple[LayerFlow, Tensor]:
    """Return the flow of one layer and direction, and the gradient of its inputs, ``(B, T, F)``."""
    if states.padding is not None:
        outputs = states.padding.clear(outputs)
    given: Any = states.in_reading_order(outputs)
    trace, weights, cell, keeping = states.trace, states.weights, None, None
    if states.kind == "custom":
        hidden, below = custom.backward_pass(weights, states.inputs, given, states.mask)
    elif states.kind == "lstm":
        delta = lstm.backward_pass(trace, weights.U, given, (None, None))
        hidden, below, cell, keeping = delta.hidden[1:], delta.gates @ weights.W, delta.cell[1:], trace.gate("f")
    elif states.kind == "gru":
        delta = gru.backward_pass(trace, weights.U, given, (None,))
        arguments = torch.cat([delta.gates[..., : 2 * trace.past.shape[-1]], delta.candidate], dim=-1)
        hidden, below, keeping = delta.hidden[1:], arguments @ weights.W, trace.gate("z")
    else:
        delta = rnn.backward_pass(trace, weights.U, given, (None,), states.nonlinearity, states.mask)
        hidden, below = delta.hidden[1:], delta.gates @ weights.W
    flow = LayerFlow(
        name=states.name,
        layer=states.layer,
        direction=states.direction,
        valid=states.valid,
        hidden=states.in_time(hidden),
        cell=None if cell is None else states.in_time(cell),
        carry=None if keeping is None else states.in_time(carry_path(keeping)),
    )
    return flow, states.in_time(below)
