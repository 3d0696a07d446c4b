"""Initialisation of recurrent networks: Glorot input weights, orthogonal recurrent weights, gate biases.

torch stacks the gates of a layer along the first axis of each parameter: LSTM input, forget, cell, output;
GRU reset, update, new. Each gate is initialised as a separate matrix, with torch's global generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

RecurrentInit = Literal["orthogonal", "uniform"]


@torch.no_grad()
def initialise(network: nn.RNNBase, recurrent: RecurrentInit) -> None:
    """Initialise all weights, gate by gate, and set all biases to zero.

    Input weights are Glorot-uniform (Glorot & Bengio 2010). Recurrent weights are orthogonal (Saxe et al. 2014),
    so that a gradient keeps its norm through time, or uniform in ±1/sqrt(H), torch's default.
    """
    bound = network.hidden_size**-0.5
    for name, parameter in network.named_parameters():
        for gate in parameter.split(network.hidden_size):
            if name.startswith("weight_ih"):
                nn.init.xavier_uniform_(gate)
            elif name.startswith("bias"):
                nn.init.zeros_(gate)
            elif recurrent == "orthogonal":
                nn.init.orthogonal_(gate)
            else:
                nn.init.uniform_(gate, -bound, bound)


@torch.no_grad()
def set_gate_bias(network: nn.RNNBase, gate: int, value: float) -> None:
    """Set the bias of one gate in every layer and direction. ``bias_hh``, which torch adds, stays zero."""
    for gates in _gate_biases(network):
        gates[gate] = value


@torch.no_grad()
def set_chrono_bias(network: nn.RNNBase, steps: int, keep: int, write: int | None = None) -> None:
    """Distribute the memory of the units over dependencies of up to ``steps`` steps, T_max.

    A unit whose ``keep`` gate is at sigmoid(b) forgets within 1 / (1 - sigmoid(b)) = 1 + exp(b) steps. So

        b_keep ~ log U[1, T_max - 1],   b_write = -b_keep

    distributes these times uniformly over [2, T_max] (Tallec & Ollivier 2018, "Can recurrent neural networks warp
    time?"). GRUs have no separate gate for writing: it is one minus the gate that keeps.

    Raises ValueError if ``steps`` is below 3, where that interval is empty.
    """
    if steps < 3:
        raise ValueError(f"chrono_steps, the longest expected dependency in steps, must be at least 3, not {steps}")
    for gates in _gate_biases(network):
        gates[keep].uniform_(1, steps - 1).log_()
        if write is not None:
            gates[write] = -gates[keep]


def _gate_biases(network: nn.RNNBase) -> Iterator[Tensor]:
    """Yield a view ``(gates, H)`` of the ``bias_ih`` of each layer and direction."""
    for name, parameter in network.named_parameters():
        if name.startswith("bias_ih"):
            yield parameter.view(-1, network.hidden_size)
