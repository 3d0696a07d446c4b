"""All gates and states of a recurrent network, layer by layer and in both directions, at the speed of the fast kernel.

torch's kernels return only the hidden states. That is enough: a layer's outputs are every h_{t-1}, from which the
arguments of all gates at all steps are one sum of two products. Only an LSTM's cell state needs a scan, one operation
per step (``transparent.lstm.retrace``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cellstate.backbone.contract import Backbone, State, check_inputs
from cellstate.backbone.padding import Padding, length_range
from cellstate.backbone.recurrent import Recurrent
from cellstate.backbone.transparent import Transparent, fast, gru, lstm, rnn
from cellstate.inspection.analysis import custom

Direction = Literal["forward", "backward"]
Kind = Literal["lstm", "gru", "rnn", "custom"]  # "custom": a user-defined backbone, of which only states are known
GATES = {
    "lstm": {"forget": "f", "input": "i", "output": "o", "candidate": "c"},
    "gru": {"reset": "r", "update": "z", "candidate": "n"},
    "rnn": {},
    "custom": {},
}
KEEPING = {"lstm": "forget", "gru": "update"}  # the gate that multiplies the previous state


@dataclass(frozen=True)
class LayerStates:
    """The states and gates of one layer in one direction.

    ``trace`` is in the order in which the layer reads, time first. The properties are ``(B, T, H)`` in the order of the
    inputs, and zero on padding: index t is input step t also for a backward layer, whose state at t has read steps
    t ... T - 1.
    """

    layer: int  # from 0, the lowest
    direction: Direction
    kind: Kind
    inputs: Tensor  # (T, B, F) in reading order
    trace: Any  # lstm.Trace, gru.Trace, rnn.Trace or custom.Trace
    weights: Any  # Stacked, of the same module; or custom.Custom
    padding: Padding | None
    nonlinearity: Literal["tanh", "relu"] = "tanh"  # of a simple recurrent network

    @property
    def name(self) -> str:
        """``l0``, ``l0_reverse``, ``l1`` ..., as torch's parameters end."""
        return f"l{self.layer}{'_reverse' if self.direction == 'backward' else ''}"

    @property
    def network(self) -> str:
        """``LSTM``, ``GRU``, ``RNN``, or the name of a user-defined class."""
        return type(self.weights.network).__name__ if self.kind == "custom" else self.kind.upper()

    @property
    def h(self) -> Tensor:
        """Hidden states after each step."""
        return self.in_time(self.trace.hidden[1:])

    @property
    def c(self) -> Tensor | None:
        """Cell states after each step; None if the network has none."""
        return self.in_time(self.trace.cell[1:]) if self.kind == "lstm" else None

    @property
    def gates(self) -> dict[str, Tensor]:
        """Gate -> values: ``forget input output candidate``, ``reset update candidate``, or empty."""
        return {name: self.in_time(self.trace.gate(letter)) for name, letter in GATES[self.kind].items()}

    @property
    def keeping(self) -> Tensor | None:
        """Factor of the previous state at each step: the forget gate or the update gate; None if there is none."""
        name = KEEPING.get(self.kind)
        return None if name is None else self.in_time(self.trace.gate(GATES[self.kind][name]))

    @property
    def valid(self) -> Tensor:
        """Steps that are not padding, ``(B, T)`` bool."""
        if self.padding is None:
            return torch.ones(self.inputs.shape[1::-1], dtype=torch.bool, device=self.inputs.device)
        return ~self.padding.mask

    @property
    def mask(self) -> Tensor | None:
        """Padding ``(T, B)``, in the layout of the equations; None if there is none."""
        return None if self.padding is None else self.padding.mask.t()

    def in_time(self, sequence: Tensor) -> Tensor:
        """Return ``(T, B, D)`` in reading order as ``(B, T, D)`` in the order of the inputs, zero on padding."""
        rows = sequence.transpose(0, 1)
        if self.padding is not None:
            rows = self.padding.clear(rows)
        return reversed_in_time(rows, self.padding) if self.direction == "backward" else rows

    def in_reading_order(self, rows: Tensor) -> Tensor:
        """Return ``(B, T, D)`` in the order of the inputs as ``(T, B, D)`` in reading order."""
        if self.direction == "backward":
            rows = reversed_in_time(rows, self.padding)
        return rows.transpose(0, 1)

    def named(self) -> dict[str, Tensor]:
        """Return ``h``, ``c`` if there is one, and the gates by name."""
        cell = {} if self.c is None else {"c": self.c}
        return {"h": self.h, **cell, **self.gates}


@dataclass(frozen=True)
class States:
    """The states and gates of all layers and directions of a network."""

    layers: tuple[LayerStates, ...]  # from bottom to top, forward before backward
    outputs: Tensor  # (B, T, D), of the network; zero on padding

    @property
    def valid(self) -> Tensor:
        """Steps that are not padding, ``(B, T)`` bool."""
        return self.layers[0].valid

    def arrays(self) -> dict[str, np.ndarray]:
        """Return ``l0.h``, ``l0.forget``, ``l0_reverse.h`` ..., ``(B, T, H)``, and ``valid (B, T)``, for ``.npz``."""
        found = {f"{layer.name}.{name}": part for layer in self.layers for name, part in layer.named().items()}
        return {name: tensor.cpu().numpy() for name, tensor in {**found, "valid": self.valid}.items()}


@torch.no_grad()
def open_states(
    network: nn.Module, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None,
    outputs: Tensor | None = None,
) -> States:  # fmt: skip
    """Run a network without dropout and return all its states and gates.

    Args:
        network: an ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``, or a backbone; the outputs of a user-defined backbone must
            be the hidden states of its top layer.
        inputs: ``(B, T, F)``, batch first also if the ``nn`` module is not.
        state: initial state, tensors ``(layers * directions, B, H)``; None: zeros.
        lengths: valid steps of each row, ``(B,)``; None: all.
        outputs: of the network for these inputs, ``(B, T, D)``, if known; the top layer is then not run again.

    Raises:
        ValueError: an unsupported network, inputs of the wrong shape, or invalid lengths.
    """
    if isinstance(network, Backbone) and not isinstance(network, (Recurrent, Transparent)):
        return _open_custom(network, inputs, state, lengths)
    quick = network if isinstance(network, Recurrent) else fast(network)  # type: ignore[arg-type]
    check_inputs(inputs, quick.input_size)
    below, start, padding = _prepared(quick, inputs, state, lengths)
    layers: list[LayerStates] = []
    for depth in range(quick.network.num_layers):
        known = outputs if depth == quick.network.num_layers - 1 else None
        given = (None,) * quick.directions if known is None else known.to(below).chunk(quick.directions, dim=-1)
        ways = [_open_direction(quick, depth, way, below, start, padding, part) for way, part in enumerate(given)]
        layers += ways
        below = torch.cat([layer.h for layer in ways], dim=-1)
    return States(tuple(layers), below)


def _prepared(
    network: Backbone, inputs: Tensor, state: State | None, lengths: Tensor | None
) -> tuple[Tensor, State, Padding | None]:
    """Return inputs (zero on padding) and initial state with the weights' dtype and device, and the padding, if any."""
    parameter = next(network.parameters())
    below = inputs.to(parameter)
    start = tuple(tensor.to(parameter) for tensor in state or network.initial_state(len(inputs)))
    if lengths is None or length_range(lengths, inputs)[0] == inputs.shape[1]:
        return below, start, None
    padding = Padding.of(lengths.to(below.device), inputs.shape[1])
    return padding.clear(below), start, padding


def _open_custom(network: Backbone, inputs: Tensor, state: State | None, lengths: Tensor | None) -> States:
    """Return the states of a user-defined backbone."""
    below, start, padding = _prepared(network, inputs, state, lengths)
    backbone = custom.Custom(network, start)
    trace, outputs = custom.trace_of(backbone, below, lengths, padding)
    return States((LayerStates(0, "forward", "custom", below.transpose(0, 1), trace, backbone, padding),), outputs)


def _open_direction(
    quick: Recurrent,
    depth: int,
    way: int,
    below: Tensor,
    start: State,
    padding: Padding | None,
    outputs: Tensor | None,
) -> LayerStates:
    """Return the states of one layer in one direction, from its inputs ``(B, T, F)`` in the order of time."""
    number = depth * quick.directions + way
    weights = [weight.detach() for weight in quick.network.all_weights[number]]
    first = tuple(tensor[number] for tensor in start)
    sequence = reversed_in_time(below, padding) if way else below
    if outputs is None:
        hidden = _kernel(quick.network, sequence, first, weights)
    else:
        hidden = reversed_in_time(outputs, padding) if way else outputs
    hidden = torch.cat([first[0].unsqueeze(0), hidden.transpose(0, 1)])
    inputs, mask = sequence.transpose(0, 1), None if padding is None else padding.mask.t()
    mode, phi = quick.network.mode.lower(), "tanh"
    if mode == "lstm":
        stacked = lstm.Stacked.of_torch(*weights)
        kind, trace = "lstm", lstm.retrace(inputs, hidden, first[1], stacked, mask)
    elif mode == "gru":
        stacked = gru.Stacked.of_torch(*weights)
        kind, trace = "gru", gru.retrace(inputs, hidden, stacked, mask)
    else:
        stacked, phi = rnn.Stacked.of_torch(*weights), "relu" if mode.endswith("relu") else "tanh"
        kind, trace = "rnn", rnn.Trace(hidden)
    return LayerStates(depth, "backward" if way else "forward", kind, inputs, trace, stacked, padding, phi)


def _kernel(network: nn.RNNBase, sequence: Tensor, start: State, weights: Sequence[Tensor]) -> Tensor:
    """Return the outputs ``(B, T, H)`` of one layer in one direction, by torch's kernel."""
    first, *others = (tensor.unsqueeze(0).contiguous() for tensor in start)
    kernel = getattr(torch, network.mode.lower())  # torch.lstm, gru, rnn_tanh or rnn_relu
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    return kernel(sequence, (first, *others) if others else first, weights, True, 1, 0.0, False, False, True)[0]


def reversed_in_time(rows: Tensor, padding: Padding | None) -> Tensor:
    """Return ``(B, T, D)`` with the valid steps of each row reversed."""
    return rows.flip(1) if padding is None else padding.reverse(rows)
