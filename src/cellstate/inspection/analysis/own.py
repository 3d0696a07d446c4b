"""Opening a backbone of the user's own, of whose equations nothing is known: its state, and what reaches it.

Its outputs must be the hidden states of its top layer, as those of an RNN are. Then dL/dh_t is the gradient of the loss
by the output at t, and what comes back through the state that step t hands on, which autograd finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cellstate.backbone.contract import Backbone, State, check_inputs, last_outputs
from cellstate.backbone.padding import Padding


@dataclass(frozen=True)
class Trace:
    """Hidden states, the start before them, ``(T + 1, B, H)``."""

    hidden: Tensor


@dataclass(frozen=True)
class Own:
    """A backbone, and the state that it started in."""

    network: Backbone
    start: State


def trace_of(own: Own, inputs: Tensor, lengths: Tensor | None, padding: Padding | None) -> tuple[Trace, Tensor]:
    """Return what a backbone went through, and its outputs ``(B, T, H)``.

    Raises:
        ValueError: it reads in both directions, or its outputs are not the hidden states of its top layer.
    """
    name = type(own.network).__name__
    if own.network.bidirectional:
        raise ValueError(f"a {name} reads in both directions, and its equations are not known")
    check_inputs(inputs, own.network.input_size)
    with evaluating(own.network):
        outputs, state = own.network(inputs, own.start, lengths)
    last, hidden = last_outputs(outputs, lengths), state[0][-1]
    if last.shape != hidden.shape or not torch.allclose(last, hidden):
        raise ValueError(
            f"the outputs of a {name} are not the hidden states of its top layer, so that these are unknown"
        )
    if padding is not None:
        outputs = padding.clear(outputs)
    return Trace(torch.cat([own.start[0][-1:], outputs.transpose(0, 1)])), outputs


def backward_pass(own: Own, inputs: Tensor, outputs: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Walk a gradient back through time.

    Args:
        own: the backbone and where it started.
        inputs: ``(T, B, F)``.
        outputs: dL/d outputs, ``(T, B, H)``, zero on padding.
        mask: padding, ``(T, B)`` bool; None where there is none.

    Returns:
        dL/dh_t, ``(T, B, H)``, and dL/dx_t, ``(T, B, F)``.
    """
    with torch.enable_grad(), evaluating(own.network):
        read = inputs.detach().clone().requires_grad_()
        state, states, loss = own.start, [], inputs.new_zeros(())
        for step, features in enumerate(read):
            given, after = own.network.step(features, state)
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


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Have a network compute as in evaluation, without dropout."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
