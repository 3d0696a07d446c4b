"""The classical recurrent networks on torch's kernels: RNN, LSTM and GRU.

Their parameters are in one ``torch.nn`` module, ``network``, under torch's names (``weight_ih_l0`` …):
``backbone.network.load_state_dict(plain.state_dict())`` loads a plain PyTorch network.

Without lengths, a pass is one call of that module. With lengths, sequences are *not* packed on the CPU, where packing
is many times slower: padded steps are computed but have no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from cellstate.backbone.autocast import at_autocast_precision
from cellstate.backbone.contract import Backbone, State, check_inputs, last_outputs
from cellstate.backbone.initialisation import RecurrentInit, initialise, set_chrono_bias, set_gate_bias
from cellstate.backbone.padding import SATURATE, Padding, length_range
from cellstate.config.types import Layers, PositiveInt, Probability


class Recurrent(Backbone):
    """Base class of RNN, LSTM and GRU: everything but their gates."""

    def __init__(self, network: nn.RNNBase, states: int, recurrent_init: RecurrentInit) -> None:
        """Wrap and initialise ``network``, which has ``states`` state tensors."""
        super().__init__()
        self.network = network
        self.directions = 2 if network.bidirectional else 1
        self.input_size = network.input_size
        self.output_size = self.directions * network.hidden_size
        self.state_size = states * self.directions * network.num_layers * network.hidden_size
        self.bidirectional = network.bidirectional
        self._states = states
        initialise(network, recurrent_init)

    def initial_state(self, batch_size: int) -> State:
        """Return ``batch_size`` rows of zeros, each tensor ``(num_layers * num_directions, B, H)``."""
        shape = (self.network.num_layers * self.directions, batch_size, self.network.hidden_size)
        parameter = next(self.network.parameters())
        return tuple(parameter.new_zeros(shape) for _ in range(self._states))

    def forward(
        self, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run over ``inputs`` ``(B, T, F)``; see ``Backbone.forward``."""
        check_inputs(inputs, self.input_size)
        inputs = at_autocast_precision(inputs)
        if state is not None:
            state = tuple(map(at_autocast_precision, state))
        if lengths is None:
            return self._run(inputs, state)
        shortest, longest = length_range(lengths, inputs)
        if inputs.is_cuda:
            return self._run_packed(inputs, state, lengths)
        steps = inputs.shape[1]
        inputs = inputs[:, :longest]
        if shortest == longest:
            outputs, state = self._run(inputs, state)
        else:
            outputs, state = self._run_padded(inputs, state, lengths.to(inputs.device))
        return functional.pad(outputs, (0, 0, 0, steps - longest)) if longest < steps else outputs, state

    def _run(self, inputs: Tensor | PackedSequence, state: State | None) -> tuple[Any, State]:
        """Call the torch module: all layers and directions at once."""
        outputs, final = self.network(inputs, None if state is None else _torch_state(state))
        return outputs, final if isinstance(final, tuple) else (final,)

    def _run_packed(self, inputs: Tensor, state: State | None, lengths: Tensor) -> tuple[Tensor, State]:
        """Skip the padding by packing, which is fast only on CUDA, where cuDNN has a kernel for it."""
        packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, state = self._run(packed, state)
        return pad_packed_sequence(outputs, batch_first=True, total_length=inputs.shape[1])[0], state

    def _run_padded(self, inputs: Tensor, state: State | None, lengths: Tensor) -> tuple[Tensor, State]:
        """Run layer by layer and direction by direction, as rows end and are reversed at different steps."""
        padding = Padding.of(lengths, inputs.shape[1])
        start = tuple(tensor.to(inputs.dtype) for tensor in state or self.initial_state(len(inputs)))
        sequence, finals = padding.clear(inputs), []
        for layer in range(self.network.num_layers):
            if layer > 0:
                sequence = functional.dropout(sequence, self.network.dropout, self.training)
            runs = [self._run_direction(sequence, start, padding, layer, way) for way in range(self.directions)]
            sequence = torch.cat([outputs for outputs, _ in runs], dim=-1) if self.bidirectional else runs[0][0]
            finals += [final for _, final in runs]
        return sequence, tuple(torch.stack(tensors) for tensors in zip(*finals, strict=True))

    def _run_direction(
        self, inputs: Tensor, start: State, padding: Padding, layer: int, way: int
    ) -> tuple[Tensor, State]:
        """Run one direction (``way`` 0 forward, 1 backward) of one layer; inputs are zero on the padding.

        Returns outputs ``(B, T, H)``, zero on the padding, and each row's final state, tensors ``(B, H)``. The
        final h is the last valid output; ``_freeze`` must preserve any other part of the state.
        """
        index = layer * self.directions + way
        own = _torch_state(tuple(tensor[index : index + 1].contiguous() for tensor in start))
        sequence, weights = self._freeze(
            padding.reverse(inputs) if way else inputs, self.network.all_weights[index], padding
        )
        kernel = getattr(torch, self.network.mode.lower())  # torch.lstm, gru, rnn_tanh or rnn_relu
        # has_biases, num_layers, dropout, train, bidirectional, batch_first
        outputs, _, *rest = kernel(sequence, own, weights, True, 1, 0.0, self.training, False, True)
        final = last_outputs(outputs, padding.lengths), *(tensor.squeeze(0) for tensor in rest)
        outputs = padding.clear(outputs)
        return padding.reverse(outputs) if way else outputs, final

    def _freeze(self, inputs: Tensor, weights: Sequence[Tensor], padding: Padding) -> tuple[Tensor, Sequence[Tensor]]:
        """Return inputs and weights with which padding preserves the parts of the state that are not outputs."""
        del padding
        return inputs, weights


class RNN(Recurrent):
    """The simple recurrent network (Elman 1990): h_t = f(W x_t + b + U h_{t-1}), f = tanh or relu.

    ``chrono_steps`` has no effect, as there are no gates; it exists so that this backbone can replace gated ones.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt = 64,
        num_layers: Layers = 1,
        bidirectional: bool = False,
        dropout: Probability = 0.0,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        recurrent_init: RecurrentInit = "orthogonal",
        chrono_steps: PositiveInt | None = None,  # noqa: ARG002
    ) -> None:
        network = nn.RNN(
            input_size,
            hidden_size,
            num_layers,
            nonlinearity=nonlinearity,
            batch_first=True,
            dropout=dropout,
            bidirectional=bidirectional,
        )
        super().__init__(network, states=1, recurrent_init=recurrent_init)


class GRU(Recurrent):
    """The gated recurrent unit (Cho et al. 2014), in torch's and cuDNN's form:

        r = sigmoid(W_r x + U_r h),   z = sigmoid(W_z x + U_z h)
        n = tanh(W_n x + r * U_n h),  h' = (1 - z) * n + z * h

    Here z *keeps* the state; in the paper on chrono initialisation it writes, hence the opposite sign of that bias.
    """

    UPDATE = 1  # torch's order of gates: reset, update, new

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
        network = nn.GRU(
            input_size, hidden_size, num_layers, batch_first=True, dropout=dropout, bidirectional=bidirectional
        )
        super().__init__(network, states=1, recurrent_init=recurrent_init)
        if chrono_steps is not None:
            set_chrono_bias(network, chrono_steps, keep=self.UPDATE)


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000):

        i, f, o = sigmoid(W x + U h + b),   g = tanh(W_g x + U_g h + b_g)
        c' = f * c + i * g,                 h' = o * tanh(c')

    The bias of the forget gates is initialised to ``forget_bias`` = 1, so that memory lasts from the start of training
    (Jozefowicz et al. 2015), or by ``chrono_steps``.
    """

    INPUT, FORGET = 0, 1  # torch's order of gates: input, forget, cell, output

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
        if chrono_steps is not None and forget_bias != 1.0:
            raise ValueError(
                f"chrono_steps={chrono_steps} initialises the bias of the forget gate: remove forget_bias={forget_bias}"
            )
        network = nn.LSTM(
            input_size, hidden_size, num_layers, batch_first=True, dropout=dropout, bidirectional=bidirectional
        )
        super().__init__(network, states=2, recurrent_init=recurrent_init)
        if chrono_steps is None:
            set_gate_bias(network, self.FORGET, forget_bias)
        else:
            set_chrono_bias(network, chrono_steps, keep=self.FORGET, write=self.INPUT)

    def _freeze(self, inputs: Tensor, weights: Sequence[Tensor], padding: Padding) -> tuple[Tensor, Sequence[Tensor]]:
        """Preserve the cell on padding, with an additional input feature p: 0 on valid steps, 1 on padding.

        Its column in W adds S = SATURATE to the forget gate and -S to the input gate:

            f = sigmoid(z_f + S p),   i = sigmoid(z_i - S p),   c' = f * c + i * g

        On valid steps p = 0 has no effect. On padding f = 1 and i = 0, hence c' = c: the cell after step T equals, to
        the bit, that of the row's last valid step. Backward, dc = f dc' = dc', while dz_f and dz_i have the factor
        f (1 - f) = i (1 - i) = 0: the gradient is passed on exactly, and padding adds none.
        """
        weight, *others = weights
        column = weight.new_zeros(4, self.network.hidden_size)
        column[self.FORGET], column[self.INPUT] = SATURATE, -SATURATE
        flag = padding.mask.unsqueeze(-1).to(inputs.dtype)
        return torch.cat([inputs, flag], dim=-1), [torch.cat([weight, column.view(-1, 1)], dim=1), *others]


def _torch_state(state: State) -> State | Tensor:
    """Return ``(h, c)`` unchanged, and ``(h,)`` as the tensor h, as expected by torch's GRU and RNN."""
    first, *others = state
    return state if others else first
