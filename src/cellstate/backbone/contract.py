"""What every backbone promises, and the few things that are done with its state and its outputs.

Shapes: ``B`` sequences, ``T`` steps, ``F`` input features, ``D`` output features, ``H`` hidden units.
``tests/contract/test_backbone.py`` holds every backbone in ``conf/backbone/`` to what is written here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""What a backbone carries from step to step: tensors ``(num_layers * num_directions, B, H)``, the batch second.
An LSTM carries ``(h, c)``, a GRU and a plain RNN ``(h,)``. A sequence starts from zeros."""


class Backbone(nn.Module, ABC):
    """A causal (or, if ``bidirectional``, two-sided) map from ``(B, T, F)`` to ``(B, T, D)`` that carries a state.

    One pass over a sequence, passes over consecutive chunks that hand the state on, and single steps all give
    the same outputs and the same final state. Padding changes neither of them, nor any gradient.

    Constructors set the four attributes and take only keywords with annotated constraints (``PositiveInt``, …).
    """

    input_size: int
    """``F``, features a step."""
    output_size: int
    """``D``, features of an output, both directions counted."""
    state_size: int
    """Numbers held for one sequence, over all layers and directions."""
    bidirectional: bool
    """Whether an output depends on later inputs too; such a backbone cannot ``step``."""

    @abstractmethod
    def forward(
        self, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run over ``inputs`` ``(B, T, F)`` from ``state`` (None: zeros); return outputs ``(B, T, D)`` and last state.

        ``lengths`` ``(B,)`` integers count the valid steps of each row, from the left; None means all ``T``.
        The rest is padding: whatever it holds, the outputs there are zero, its gradients are zero, and the
        state returned is that after each row's own last valid step.

        Raises ValueError if the inputs have another shape or no step, or a length is below 1 or above ``T``.
        """

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """Return the state that ``batch_size`` sequences start in: zeros, of the parameters' device and dtype."""

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Advance every sequence by one step: inputs ``(B, F)`` -> outputs ``(B, D)`` and the state after it.

        Raises NotImplementedError if the backbone is bidirectional.
        """
        if self.bidirectional:
            raise NotImplementedError(
                "a bidirectional network cannot go step by step, it needs the whole sequence: "
                "set backbone.bidirectional=false"
            )
        outputs, state = self(inputs.unsqueeze(1), state)
        return outputs.squeeze(1), state


def check_inputs(inputs: Tensor, features: int) -> None:
    """Reject what is no ``(B, T, F)`` of at least one step and ``features`` features (ValueError).

    Torch's kernels do not all look: of a padded batch with too many features, an LSTM gives numbers of nothing.
    """
    if inputs.ndim != 3:
        raise ValueError(f"inputs must be (B, T, F), sequences, steps and features, not {tuple(inputs.shape)}")
    if inputs.shape[1] == 0:
        raise ValueError(f"inputs must have at least one step, but they are {tuple(inputs.shape)}")
    if inputs.shape[2] != features:
        raise ValueError(
            f"inputs must have {features} feature{'s' if features != 1 else ''} a step, which this network reads, "
            f"not {inputs.shape[2]}"
        )


def detach(state: State) -> State:
    """Return the same values without their history: what truncated backpropagation hands to the next chunk."""
    return tuple(tensor.detach() for tensor in state)


def reset_rows(state: State, reset: Tensor) -> State:
    """Return the state with zeros in the rows where ``reset`` ``(B,)`` bool is set, the other rows as they were.

    A new tensor, through which gradients flow to the rows that were kept and to no other.
    """
    return tuple(
        tensor.masked_fill(reset.to(tensor.device).view(1, -1, *[1] * (tensor.dim() - 2)), 0) for tensor in state
    )


def last_outputs(outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the output at each row's last valid step: ``(B, T, D)``, lengths ``(B,)`` -> ``(B, D)``.

    With a bidirectional backbone, the backward half of that output has read one step only; what has read
    the whole sequence in both directions is the final state.
    """
    if lengths is None:
        return outputs[:, -1]
    rows = torch.arange(len(outputs), device=outputs.device)
    return outputs[rows, lengths.to(outputs.device) - 1]
