"""Weights from torch's networks to the transparent ones and back, so that any trained network can be opened.

torch adds two biases to each gate. The equations have one, their sum; of a GRU's candidate both, as one of them stands
within the reset. So a network of torch that is taken over and given back has other biases and the same outputs, and a
transparent one comes back as it was, to the bit. Trained on, the two part ways: each of torch's two biases gets the
gradient of their sum, so that a step of Adam moves the sum twice as far.
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
    """Return the same network as cellstate's backbone over torch's kernels, with weights of its own.

    Args:
        network: an ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` of any layers and directions, with biases or without, or a
            backbone. Without biases they are zeros. ``batch_first`` is of no matter: backbones take ``(B, T, F)``.

    Raises:
        ValueError: the network has projections (``proj_size``), which cellstate's have not, or is none of these.
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
        f"a {type(network).__name__} is no recurrent network that can be converted; give an nn.LSTM, nn.GRU or nn.RNN, "
        "or a backbone of cellstate"
    )


def transparent(network: nn.RNNBase | Recurrent | Transparent) -> Transparent:
    """Return the same network computed from its equations, with weights of its own.

    Args:
        network: as ``fast`` takes it.

    Raises:
        ValueError: as ``fast`` does.
    """
    source = fast(network)
    cls = next(own for _, kernel, own in KINDS if isinstance(source, kernel))
    result = _blank(cls, source.network)
    for layer, weights in zip(result.layers, source.network.all_weights, strict=True):
        layer.take_over(*weights)
    return result.train(network.training)


def to_torch(network: Recurrent | Transparent, *, batch_first: bool = True) -> nn.RNNBase:
    """Return the same network as a plain ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``, with weights of its own.

    Args:
        network: a backbone.
        batch_first: whether it takes ``(B, T, F)``, as backbones do, or ``(T, B, F)``.

    Raises:
        ValueError: the backbone is no recurrent network of these.
    """
    plain = fast(network).network
    plain.batch_first = batch_first
    return plain


def _blank(cls: type[Network], source: Any) -> Network:
    """Return a network of a class of ours, of the sizes, the type and the device of another one."""
    if getattr(source, "proj_size", 0):
        raise ValueError(
            f"proj_size={source.proj_size}: networks with projections cannot be converted; train one with proj_size=0"
        )
    options: dict[str, Any] = {}
    if issubclass(cls, (RNN, TransparentRNN)):
        options["nonlinearity"] = source.nonlinearity
    parameter = next(source.parameters())
    with torch.random.fork_rng(devices=[]):  # what it draws is written over, and must not change what others draw
        sizes = source.input_size, source.hidden_size, source.num_layers
        built: Any = cls(*sizes, source.bidirectional, source.dropout, **options)  # type: ignore[call-arg]
    return built.to(parameter)


@torch.no_grad()
def _copy(target: nn.RNNBase, source: nn.RNNBase) -> None:
    """Copy the parameters of torch's network; biases that it does not have are zero."""
    given = dict(source.named_parameters())
    for name, parameter in target.named_parameters():
        parameter.copy_(given[name]) if name in given else parameter.zero_()


@torch.no_grad()
def _write(target: nn.RNNBase, source: Transparent) -> None:
    """Copy the parameters of a transparent network into torch's."""
    for weights, layer in zip(target.all_weights, source.layers, strict=True):
        for parameter, value in zip(weights, layer.as_torch_has_them(), strict=True):
            parameter.copy_(value)
