"""Layers and directions of the transparent networks, independent of the equations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellstate.backbone.autocast import at_autocast_precision
from cellstate.backbone.contract import Backbone, State, check_inputs, last_outputs
from cellstate.backbone.initialisation import RecurrentInit
from cellstate.backbone.padding import Padding, length_range
from cellstate.backbone.recurrent import GRU, LSTM, RNN, Recurrent
from cellstate.backbone.transparent.gru import GRULayer
from cellstate.backbone.transparent.layer import Layer
from cellstate.backbone.transparent.lstm import LSTMLayer
from cellstate.backbone.transparent.rnn import Nonlinearity, RNNLayer
from cellstate.config.types import Layers, PositiveInt, Probability


class Transparent(Backbone):
    """A recurrent network computed from its equations, forward and backward, layer by layer.

    ``network`` contains a ``Layer`` for each layer and direction, with the suffixes of torch's names: ``l0``,
    ``l0_reverse``, ``l1`` ... For example, ``network.l0.W_f`` are the input weights of the first forget gate.
    """

    def __init__(self, fast: Recurrent, layer: Callable[[int, int], Layer]) -> None:
        """Copy sizes and weights of the ``fast`` network, so that both are initialised alike for a seed."""
        super().__init__()
        self.input_size, self.output_size, self.state_size = fast.input_size, fast.output_size, fast.state_size
        self.bidirectional, self.directions = fast.bidirectional, fast.directions
        self.hidden_size, self.num_layers = fast.network.hidden_size, fast.network.num_layers
        self.dropout = fast.network.dropout
        self._states = len(fast.initial_state(0))
        self.network = nn.ModuleDict()
        for number, weights in enumerate(fast.network.all_weights):
            depth, way = divmod(number, self.directions)
            width = self.input_size if depth == 0 else self.output_size
            built = layer(width, self.hidden_size).to(weights[0])
            built.load_torch(*weights)
            self.network[f"l{depth}{'_reverse' if way else ''}"] = built

    @property
    def layers(self) -> list[Layer]:
        """Layers from bottom to top, each with its forward and, if there is one, its backward direction."""
        return [layer for layer in self.network.values() if isinstance(layer, Layer)]

    def initial_state(self, batch_size: int) -> State:
        """Return ``batch_size`` rows of zeros, each tensor ``(num_layers * num_directions, B, H)``."""
        shape = (self.num_layers * self.directions, batch_size, self.hidden_size)
        parameter = next(self.parameters())
        return tuple(parameter.new_zeros(shape) for _ in range(self._states))

    def forward(
        self, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run over ``inputs`` ``(B, T, F)``; see ``Backbone.forward``."""
        check_inputs(inputs, self.input_size)
        steps, padding = inputs.shape[1], None
        sequence = at_autocast_precision(inputs)
        start = tuple(at_autocast_precision(tensor) for tensor in state or self.initial_state(len(inputs)))
        if lengths is not None:
            shortest, longest = length_range(lengths, inputs)
            sequence = sequence[:, :longest]
            if shortest < longest:
                padding = Padding.of(lengths.to(inputs.device), longest)
                sequence = padding.clear(sequence)
        finals = []
        for number, layer in enumerate(self.layers):
            depth, way = divmod(number, self.directions)
            if way == 0:
                below = functional.dropout(sequence, self.dropout, self.training) if depth else sequence
                above = []
            outputs, final = run_direction(layer, below, tuple(tensor[number] for tensor in start), padding, way)
            above.append(outputs)
            finals.append(final)
            sequence = torch.cat(above, dim=-1) if len(above) > 1 else outputs
        missing = steps - sequence.shape[1]
        return (
            functional.pad(sequence, (0, 0, 0, missing)) if missing else sequence,
            tuple(torch.stack(tensors) for tensors in zip(*finals, strict=True)),
        )


def run_direction(
    layer: Layer, inputs: Tensor, start: State, padding: Padding | None, way: int
) -> tuple[Tensor, State]:
    """Run one layer over ``inputs (B, T, F)``, zero on the padding, backward if ``way`` is 1.

    Returns outputs ``(B, T, H)``, zero on the padding, and each row's final state, tensors ``(B, H)``.
    """
    if way:
        inputs = inputs.flip(1) if padding is None else padding.reverse(inputs)
    outputs, final = layer(inputs.transpose(0, 1), start, None if padding is None else padding.mask.t())
    outputs = outputs.transpose(0, 1)
    if padding is not None:
        final = last_outputs(outputs, padding.lengths), *final[1:]
        outputs = padding.clear(outputs)
    if way:
        outputs = outputs.flip(1) if padding is None else padding.reverse(outputs)
    return outputs, final


class TransparentRNN(Transparent):
    """The simple recurrent network from its equation; see ``transparent.rnn``. Arguments as in ``RNN``."""

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt = 64,
        num_layers: Layers = 1,
        bidirectional: bool = False,
        dropout: Probability = 0.0,
        nonlinearity: Nonlinearity = "tanh",
        recurrent_init: RecurrentInit = "orthogonal",
        chrono_steps: PositiveInt | None = None,
    ) -> None:
        fast = RNN(
            input_size, hidden_size, num_layers, bidirectional, dropout, nonlinearity, recurrent_init, chrono_steps
        )
        super().__init__(fast, partial(RNNLayer, nonlinearity=nonlinearity))
        self.nonlinearity: Nonlinearity = nonlinearity


class TransparentGRU(Transparent):
    """The gated recurrent unit from its equations; see ``transparent.gru``. Arguments as in ``GRU``."""

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt = 64,
        num_layers: Layers = 1,
        bidirectional: bool = False,
        dropout: Probability = 0.0,
        recurrent_init: RecurrentInit = "orthogonal",
        chrono_steps: PositiveInt | None = None,
    ) -> None:
        """Raise ValueError if ``chrono_steps`` is below 3."""
        fast = GRU(input_size, hidden_size, num_layers, bidirectional, dropout, recurrent_init, chrono_steps)
        super().__init__(fast, GRULayer)


class TransparentLSTM(Transparent):
    """Long short-term memory from its equations; see ``transparent.lstm``. Arguments as in ``LSTM``."""

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt = 64,
        num_layers: Layers = 1,
        bidirectional: bool = False,
        dropout: Probability = 0.0,
        forget_bias: float = 1.0,
        recurrent_init: RecurrentInit = "orthogonal",
        chrono_steps: PositiveInt | None = None,
    ) -> None:
        """Raise ValueError if ``chrono_steps`` is below 3, or is given with a ``forget_bias``."""
        fast = LSTM(
            input_size, hidden_size, num_layers, bidirectional, dropout, forget_bias, recurrent_init, chrono_steps
        )
        super().__init__(fast, LSTMLayer)
