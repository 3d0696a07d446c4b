"""The interface of backbones, and functions on their states and outputs.

Shapes: ``B`` sequences, ``T`` steps, ``F`` input features, ``D`` output features, ``H`` hidden units.
``tests/contract/test_backbone.py`` tests this contract for every backbone in ``conf/backbone/``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""The state of a backbone between steps: tensors ``(num_layers * num_directions, B, H)``, batch second: ``(h, c)`` for
an LSTM, ``(h,)`` for a GRU and a plain RNN. The initial state is zero."""


class Backbone(nn.Module, ABC):
    """A causal (or, if ``bidirectional``, two-sided) map from ``(B, T, F)`` to ``(B, T, D)`` with a state.

    One pass over a sequence, passes over consecutive chunks that pass the state on, and single steps give the same
    outputs and final state. Padding changes neither of them, nor any gradient.

    Constructors set the four attributes and take only keywords with annotated constraints (``PositiveInt``, …).
    """

    input_size: int
    """``F``, features per step."""
    output_size: int
    """``D``, features of an output, over both directions."""
    state_size: int
    """Numbers in the state of one sequence, over all layers and directions."""
    bidirectional: bool
    """Whether outputs also depend on later inputs; such a backbone cannot ``step``."""

    @abstractmethod
    def forward(
        self, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run over ``inputs`` ``(B, T, F)`` from ``state`` (None: zeros); return outputs ``(B, T, D)`` and final state.

        ``lengths`` ``(B,)`` are the numbers of valid steps of each row, from the left; None means all ``T``. The rest
        is padding: whatever its values, the outputs there and its gradients are zero, and the returned state is the one
        after the last valid step of each row.

        Raises ValueError if the inputs have the wrong shape or no step, or a length is below 1 or above ``T``.
        """

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """Return the initial state of ``batch_size`` sequences: zeros, with device and dtype of the parameters."""

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Advance every sequence by one step: inputs ``(B, F)`` -> outputs ``(B, D)`` and the new state.

        Raises NotImplementedError if the backbone is bidirectional.
        """
        if self.bidirectional:
            raise NotImplementedError(
                "a bidirectional network cannot run step by step, as it needs the entire sequence: "
                "set backbone.bidirectional=false"
            )
        outputs, state = self(inputs.unsqueeze(1), state)
        return outputs.squeeze(1), state


def check_inputs(inputs: Tensor, features: int) -> None:
    """Reject inputs that are not ``(B, T, F)`` with at least one step and ``features`` features (ValueError).

    Not all torch kernels check this: for a padded batch with too many features, an LSTM gives meaningless numbers.
    """
    if inputs.ndim != 3:
        raise ValueError(f"inputs must be (B, T, F): sequences, steps and features, not {tuple(inputs.shape)}")
    if inputs.shape[1] == 0:
        raise ValueError(f"inputs must have at least one step, not {tuple(inputs.shape)}")
    if inputs.shape[2] != features:
        raise ValueError(
            f"inputs must have {features} feature{'s' if features != 1 else ''} per step for this network, "
            f"not {inputs.shape[2]}"
        )


def detach(state: State) -> State:
    """Detach a state from the graph, for truncated backpropagation."""
    return tuple(tensor.detach() for tensor in state)


def reset_rows(state: State, reset: Tensor) -> State:
    """Return the state with zeros in the rows where ``reset`` ``(B,)`` bool is set.

    Gradients flow only to the other rows.
    """
    return tuple(
        tensor.masked_fill(reset.to(tensor.device).view(1, -1, *[1] * (tensor.dim() - 2)), 0) for tensor in state
    )


def last_outputs(outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the output at each row's last valid step: ``(B, T, D)``, lengths ``(B,)`` -> ``(B, D)``.

    With a bidirectional backbone, the backward half of that output has read only one step; the final state has read
    the entire sequence in both directions.
    """
    if lengths is None:
        return outputs[:, -1]
    rows = torch.arange(len(outputs), device=outputs.device)
    return outputs[rows, lengths.to(outputs.device) - 1]
