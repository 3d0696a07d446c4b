"""Statistics of single units over time: time constants, gate saturation and activity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cellstate.inspection.analysis.states import LayerStates

LOW, HIGH = 0.1, 0.9  # below and above, a gate counts as shut or open


@dataclass(frozen=True)
class Saturation:
    """Shares of valid steps in which each unit's gate is shut and open, ``(H,)`` each."""

    shut: Tensor  # below LOW
    open: Tensor  # above HIGH


@dataclass(frozen=True)
class Units:
    """Statistics of the units of one layer and direction, over all valid steps of all sequences."""

    name: str  # of the layer and direction: l0, l0_reverse ...
    saturation: dict[str, Saturation]  # of each gate, candidates left out
    time_constant: Tensor | None  # (H,), steps; None without a forget or update gate


def saturation(gate: Tensor, valid: Tensor) -> Saturation:
    """Return how often each unit's gate ``(B, T, H)`` is below 0.1 and above 0.9, over ``valid (B, T)``.

    Source: Karpathy, Johnson & Fei-Fei, "Visualizing and understanding recurrent networks" (2015).
    """
    values = gate[valid]  # (N, H)
    return Saturation((values < LOW).double().mean(0), (values > HIGH).double().mean(0))


def time_constants(keeping: Tensor, valid: Tensor) -> Tensor:
    """Return the steps in which each unit's state decays to exp(-1), ``(H,)``.

    The share that remains after k steps is f_1 ... f_k = exp(k * mean log f), so that

        tau = -1 / mean log f

    infinite for a gate that is always 1. For constant f it is the -1 / log f of a leaky integrator; the 1 / (1 - f) of
    Tallec & Ollivier (2018) is its approximation for f near 1.

    Args:
        keeping: an LSTM's forget gate or a GRU's update gate, ``(B, T, H)``.
        valid: ``(B, T)`` bool.
    """
    return 1 / keeping[valid].double().log().mean(0).abs()  # no log is above 0


def describe_units(states: LayerStates) -> Units:
    """Return the statistics of the units of one layer and direction."""
    valid = states.valid

    gates = {name: gate for name, gate in states.gates.items() if name != "candidate"}
    return Units(
        name=states.name,
        saturation={name: saturation(gate, valid) for name, gate in gates.items()},
        time_constant=None if states.keeping is None else time_constants(states.keeping, valid),
    )


def order_by_memory(units: Units) -> Tensor:
    """Return the indices of the units by decreasing time constant, ``(H,)``.

    Raises:
        ValueError: the network has no forget or update gate.
    """
    if units.time_constant is None:
        raise ValueError("a network without forget or update gates has no time constants to sort its units by")
    return torch.argsort(units.time_constant, descending=True, stable=True)
