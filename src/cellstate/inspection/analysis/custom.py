"""States and gradients of a user-defined backbone, whose equations are unknown.

Its outputs must be the hidden states of its top layer, as in an RNN. Then dL/dh_t is the gradient of the loss with
respect to the output at t, plus the gradient through the state passed on by step t, which autograd computes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cellstate.backbone.contract import Backbone, State, check_inputs, last_outputs
from cellstate.backbone.evaluating import evaluating
from cellstate.backbone.padding import Padding


@dataclass(frozen=True)
class Trace:
    """Hidden states ``(T + 1, B, H)``, the initial one first."""

    hidden: Tensor


@dataclass(frozen=True)
class Custom:
    """A backbone and its initial state."""

    network: Backbone
    start: State


def trace_of(backbone: Custom, inputs: Tensor, lengths: Tensor | None, padding: Padding | None) -> tuple[Trace, Tensor]:
    """Return the hidden states of a backbone, and its outputs ``(B, T, H)``.

    Raises:
        ValueError: it is bidirectional, or its outputs are not the hidden states of its top layer.
    """
    name = type(backbone.network).__name__
    if backbone.network.bidirectional:
        raise ValueError(f"{name} is bidirectional, which is not supported for user-defined backbones")
    check_inputs(inputs, backbone.network.input_size)
    with evaluating(backbone.network):
        outputs, state = backbone.network(inputs, backbone.start, lengths)
    last, hidden = last_outputs(outputs, lengths), state[0][-1]
    if last.shape != hidden.shape or not torch.allclose(last, hidden):
        raise ValueError(f"the outputs of {name} are not the hidden states of its top layer")
    if padding is not None:
        outputs = padding.clear(outputs)
    return Trace(torch.cat([backbone.start[0][-1:], outputs.transpose(0, 1)])), outputs


def backward_pass(backbone: Custom, inputs: Tensor, outputs: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Backpropagate a gradient through time.

    Args:
        backbone: with its initial state.
        inputs: ``(T, B, F)``.
        outputs: dL/d outputs, ``(T, B, H)``, zero on padding.
        mask: padding, ``(T, B)`` bool; None if there is none.

    Returns:
        dL/dh_t, ``(T, B, H)``, and dL/dx_t, ``(T, B, F)``.
    """
    with torch.enable_grad(), evaluating(backbone.network):
        read = inputs.detach().clone().requires_grad_()
        state, states, loss = backbone.start, [], inputs.new_zeros(())
        for step, features in enumerate(read):
            given, after = backbone.network.step(features, state)
            loss = loss + (given * outputs[step]).sum()
            if mask is not None:
                after = tuple(
                    torch.where(mask[step].view(1, -1, *[1] * (new.dim() - 2)), old, new)
                    for old, new in zip(state, after, strict=True)
                )
            state = after
            states.append(state[0])
        read_gradient, *through = torch.autograd.grad(loss, [read, *states], allow_unused=True, materialize_grads=True)
    return outputs + torch.stack([part[-1] for part in through]), read_gradient
