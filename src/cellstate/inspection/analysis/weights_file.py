"""Load an ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` from the weights saved by a plain PyTorch script."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor

from cellstate.backbone.recurrent import GRU, LSTM, RNN, Recurrent
from cellstate.errors import RequestError

NAME = re.compile(r"(?P<prefix>.*?)(?P<what>weight|bias)_(?P<part>ih|hh|hr)_l(?P<layer>\d+)(?P<way>_reverse)?")
USUAL = ("state_dict", "model_state_dict", "model", "net", "weights")  # keys of weights in scripts' checkpoints


def load_plain(
    source: str | Path | Mapping[str, Any],
    *,
    prefix: str | None = None,
    nonlinearity: Literal["tanh", "relu"] | None = None,
) -> Recurrent:
    """Return the recurrent network in weights of ``torch.save`` or safetensors, ready for every analysis here.

    Kind, sizes, layers and directions follow from torch's names and shapes of the weights
    (``lstm.weight_ih_l0`` ...): four blocks per layer are an LSTM, three a GRU, one a simple RNN. The weights of other
    parts, such as a head, are ignored.

        torch.save(model.state_dict(), "model.pt")  # in the script, whose model has self.lstm = nn.LSTM(...)
        network = load_plain("model.pt")  # here
        states = open_states(network, inputs)  # (B, T, F), of the nn.LSTM

    Args:
        source: a file, from which no code is run, or a state dict. The weights may be nested under
            ``state_dict``, ``model_state_dict`` or ``model``.
        prefix: of the network, such as ``encoder.lstm``, if there are several.
        nonlinearity: ``tanh``, the default of ``nn.RNN``, or ``relu``. Required for an ``nn.RNN``, whose weights do not
            determine it, and unused for others.

    Raises:
        RequestError: a missing file, a file without weights, no recurrent network or several, a missing
            ``nonlinearity``, projections (``proj_size``), or inconsistent shapes.
    """
    if nonlinearity not in (None, "tanh", "relu"):
        raise RequestError(f"nonlinearity={nonlinearity!r}: should be 'tanh' or 'relu'")
    named = source if isinstance(source, Mapping) else _read(Path(source).expanduser())
    where = "the state dict" if isinstance(source, Mapping) else str(source)
    return _built(_chosen(_groups(_weights(named, where)), prefix, where), where, nonlinearity)


def _chosen(groups: Mapping[str, dict[str, Tensor]], prefix: str | None, where: str) -> dict[str, Tensor]:
    """Return the weights of the selected network."""
    known = {name.rstrip(".") or "(no prefix)": parts for name, parts in groups.items()}
    if not known:
        raise RequestError(
            f"{where}: contains no recurrent network; expected weights named like lstm.weight_ih_l0, as in nn.LSTM, "
            "nn.GRU and nn.RNN"
        )
    if prefix is None and len(known) > 1:
        raise RequestError(
            f"{where}: contains several recurrent networks; choose one with prefix=…: {', '.join(sorted(known))}"
        )
    name = next(iter(known)) if prefix is None else prefix.rstrip(".") or "(no prefix)"
    if name not in known:
        raise RequestError(f"{where}: contains no recurrent network {prefix}; choose one of {', '.join(sorted(known))}")
    return known[name]


def _read(file: Path) -> Any:
    if not file.is_file():
        raise RequestError(f"{file}: no such file")
    try:
        with file.open("rb") as stream:
            begins_with_header = stream.read(9).endswith(b"{")  # after the eight bytes of its length
        if begins_with_header:
            return safetensors.torch.load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RequestError(
            f"{file}: contains objects other than weights, which could run code; save only model.state_dict()"
        ) from error
    except Exception as error:  # torch raises many kinds of errors for unknown formats
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(f"{file}: cannot be read as weights ({reason[:200]}); save model.state_dict()") from error


def _weights(named: Any, where: str) -> dict[str, Tensor]:
    """Return the tensors by name, from any of the usual keys."""
    if isinstance(named, Mapping):
        for key in USUAL:
            if isinstance(named.get(key), Mapping):
                return _weights(named[key], where)
        return {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
    raise RequestError(f"{where}: contains {type(named).__name__} instead of a state dict; save model.state_dict()")


def _groups(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return prefix -> torch's name -> tensor, of every recurrent network."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        if match := NAME.fullmatch(name):
            groups.setdefault(match["prefix"], {})[name[len(match["prefix"]) :]] = tensor
    return groups


def _built(parts: Mapping[str, Tensor], where: str, nonlinearity: Literal["tanh", "relu"] | None) -> Recurrent:
    """Return the network described by torch's names and shapes."""
    if any("_hr_" in name for name in parts):
        raise RequestError(f"{where}: the network has projections (proj_size), which are not supported")
    first, recurrent = parts.get("weight_ih_l0"), parts.get("weight_hh_l0")
    if first is None or recurrent is None or first.ndim != 2 or recurrent.ndim != 2 or 0 in recurrent.shape:
        raise RequestError(f"{where}: weight_ih_l0 and weight_hh_l0 are not matrices of a recurrent network")
    if not all(tensor.is_floating_point() for tensor in parts.values()):
        raise RequestError(f"{where}: its weights are not floating-point numbers")
    hidden = recurrent.shape[1]
    gates, rest = divmod(len(recurrent), hidden)
    layers = 1 + max(int(match["layer"]) for name in parts if (match := NAME.fullmatch(name)))
    bidirectional = any(name.endswith("_reverse") for name in parts)
    options: dict[str, Any] = {"num_layers": layers, "bidirectional": bidirectional}
    kinds: dict[int, Any] = {4: LSTM, 3: GRU, 1: RNN}
    if layers > len(parts):
        raise RequestError(f"{where}: has weights of layer {layers - 1}, but not of all lower layers")
    if rest or gates not in kinds:
        raise RequestError(f"{where}: weight_hh_l0 of {tuple(recurrent.shape)} does not fit an LSTM, GRU or simple RNN")
    if gates == 1:
        if nonlinearity is None:
            raise RequestError(
                f"{where}: the weights of an nn.RNN do not determine its nonlinearity; pass nonlinearity='tanh', the "
                "default of nn.RNN, or 'relu'"
            )
        options["nonlinearity"] = nonlinearity
    with torch.device("meta"):
        network: Any = kinds[gates](first.shape[1], hidden, **options)
    expected = {name: tuple(parameter.shape) for name, parameter in network.network.named_parameters()}
    biases = {name: torch.zeros(shape, dtype=first.dtype) for name, shape in expected.items() if name[:4] == "bias"}
    given = {**({} if any(name[:4] == "bias" for name in parts) else biases), **parts}
    found = {name: tuple(tensor.shape) for name, tensor in given.items()}
    if wrong := sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name)):
        raise RequestError(f"{where}: {wrong[0]} is {found.get(wrong[0])}, expected {expected.get(wrong[0])}")
    network = network.to(first.dtype).to_empty(device="cpu")
    network.network.load_state_dict(given)
    return network.eval()
