"""Conversion of weights between torch's networks and the transparent ones, to inspect any trained network.

torch adds two biases to each gate. The equations have one, their sum; the candidate of a GRU has both, as one of them
is multiplied by the reset gate. So a round trip of a torch network changes biases but not outputs, and that of a
transparent network is exact. Further training differs: each of torch's two biases gets the gradient of their sum, so a
step of Adam moves the sum twice as far.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

from cellstate.backbone.recurrent import GRU, LSTM, RNN, Recurrent
from cellstate.backbone.transparent.network import Transparent, TransparentGRU, TransparentLSTM, TransparentRNN

Network = TypeVar("Network", Recurrent, Transparent)
KINDS: tuple[tuple[type[nn.RNNBase], type[Recurrent], type[Transparent]], ...] = (
    (nn.LSTM, LSTM, TransparentLSTM),
    (nn.GRU, GRU, TransparentGRU),
    (nn.RNN, RNN, TransparentRNN),
)


def fast(network: nn.RNNBase | Recurrent | Transparent) -> Recurrent:
    """Return a copy of the network as a backbone on torch's kernels.

    Args:
        network: an ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` of any layers and directions, with or without biases (then
            zeros), or a backbone. ``batch_first`` is ignored: backbones take ``(B, T, F)``.

    Raises:
        ValueError: the network has projections (``proj_size``), which are not supported, or is of another type.
    """
    for plain, kernel, transparent in KINDS:
        if isinstance(network, (plain, kernel, transparent)):
            source = network.network if isinstance(network, Recurrent) else network
            result = _blank(kernel, source)
            if isinstance(network, Transparent):
                _write(result.network, network)
            else:
                assert isinstance(source, nn.RNNBase)
                _copy(result.network, source)
            return result.train(network.training)
    raise ValueError(
        f"a {type(network).__name__} cannot be converted; give an nn.LSTM, nn.GRU or nn.RNN, or a backbone of cellstate"
    )


def transparent(network: nn.RNNBase | Recurrent | Transparent) -> Transparent:
    """Return a copy of the network that is computed from its equations.

    Args:
        network: as in ``fast``.

    Raises:
        ValueError: as in ``fast``.
    """
    source = fast(network)
    cls = next(own for _, kernel, own in KINDS if isinstance(source, kernel))
    result = _blank(cls, source.network)
    for layer, weights in zip(result.layers, source.network.all_weights, strict=True):
        layer.load_torch(*weights)
    return result.train(network.training)


def to_torch(network: Recurrent | Transparent, *, batch_first: bool = True) -> nn.RNNBase:
    """Return a copy of the network as a plain ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``.

    Args:
        network: a backbone.
        batch_first: whether it takes ``(B, T, F)``, as backbones do, or ``(T, B, F)``.

    Raises:
        ValueError: the backbone is of another type.
    """
    plain = fast(network).network
    plain.batch_first = batch_first
    return plain


def _blank(cls: type[Network], source: Any) -> Network:
    """Return an uninitialised network of a class, with the sizes, dtype and device of another one."""
    if getattr(source, "proj_size", 0):
        raise ValueError(
            f"proj_size={source.proj_size}: networks with projections cannot be converted; train one with proj_size=0"
        )
    options: dict[str, Any] = {}
    if issubclass(cls, (RNN, TransparentRNN)):
        options["nonlinearity"] = source.nonlinearity
    parameter = next(source.parameters())
    with torch.device("meta"):  # no initialisation, which would be overwritten and advance the generator
        sizes = source.input_size, source.hidden_size, source.num_layers
        built: Any = cls(*sizes, source.bidirectional, source.dropout, **options)  # type: ignore[call-arg]
    return built.to(parameter.dtype).to_empty(device=parameter.device)


@torch.no_grad()
def _copy(target: nn.RNNBase, source: nn.RNNBase) -> None:
    """Copy the parameters of a torch network; missing biases are zero."""
    given = dict(source.named_parameters())
    for name, parameter in target.named_parameters():
        parameter.copy_(given[name]) if name in given else parameter.zero_()


@torch.no_grad()
def _write(target: nn.RNNBase, source: Transparent) -> None:
    """Copy the parameters of a transparent network into a torch network."""
    for weights, layer in zip(target.all_weights, source.layers, strict=True):
        for parameter, value in zip(weights, layer.torch_parameters(), strict=True):
            parameter.copy_(value)
