"""A walk through one sequence: the gates and states of a few units at every step, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cellstate.inspection.analysis.gradient_flow import LayerFlow
from cellstate.inspection.analysis.states import GATES, LayerStates


@dataclass(frozen=True)
class UnitStep:
    """Gates and states of one unit at one step."""

    unit: int
    gates: dict[str, float]  # forget, input, output, candidate, or reset, update, candidate; empty for a simple RNN
    cell_before: float | None  # None without cell state
    cell: float | None
    hidden_before: float
    hidden: float
    known: bool = True  # whether the equations are known; not for a user-defined backbone

    def equation(self) -> str:
        """Return the equation of its state, in numbers."""
        at = {name: factor(value) for name, value in self.gates.items()}
        h = signed(self.hidden)
        if self.cell is not None and self.cell_before is not None:
            c, kept = signed(self.cell), factor(self.cell_before)
            return (
                f"c = f·c + i·g = {at['forget']}·{kept} + {at['input']}·{at['candidate']} = {c}, "
                f"h = o·tanh(c) = {at['output']}·tanh({c}) = {h}"
            )
        if self.gates:
            rest, before = factor(1 - self.gates["update"]), factor(self.hidden_before)
            return f"h = z·h + (1−z)·n = {at['update']}·{before} + {rest}·{at['candidate']} = {h}"
        return f"h = φ(W x + U h + b) = {h}" if self.known else f"h = {h}"


@dataclass(frozen=True)
class Walk:
    """Some units of one layer and direction through one sequence, in the order in which the layer reads."""

    layer: LayerStates
    row: int
    units: tuple[int, ...]
    steps: tuple[tuple[int, tuple[UnitStep, ...]], ...]  # index of the step in the sequence, and the units

    @property
    def columns(self) -> tuple[str, ...]:
        """Letters of the gates in the equations."""
        return tuple("g" if letter == "c" else letter for letter in GATES[self.layer.kind].values())


def walk_through(layer: LayerStates, row: int, units: Sequence[int]) -> Walk:
    """Return the gates and states of some units of one layer at every valid step of one sequence.

    Args:
        layer: one layer and direction from ``open_states``.
        row: index of the sequence.
        units: indices of the units, in the order of display.

    Raises:
        ValueError: an index out of range.
    """
    rows, size = layer.h.shape[0], layer.h.shape[-1]
    if not 0 <= row < rows:
        raise ValueError(f"sequence {row} is out of range: expected 0 to {rows - 1}")
    if wrong := [unit for unit in units if not 0 <= unit < size]:
        raise ValueError(f"unit {wrong[0]} is out of range: expected 0 to {size - 1}")
    stop = int(layer.valid[row].sum())
    chosen = list(units)
    gates = {name: gate[row][:, chosen] for name, gate in layer.gates.items()}
    hidden, start = layer.h[row][:, chosen], layer.trace.hidden[0][row][chosen]
    cell = None if layer.c is None else layer.c[row][:, chosen]
    order = range(stop) if layer.direction == "forward" else range(stop - 1, -1, -1)
    steps, before = [], start
    cell_before = None if cell is None else layer.trace.cell[0][row][chosen]
    for step in order:
        steps.append(
            (
                step,
                tuple(
                    UnitStep(
                        unit=unit,
                        gates={name: float(gate[step, at]) for name, gate in gates.items()},
                        cell_before=None if cell_before is None else float(cell_before[at]),
                        cell=None if cell is None else float(cell[step, at]),
                        hidden_before=float(before[at]),
                        hidden=float(hidden[step, at]),
                        known=layer.kind != "custom",
                    )
                    for at, unit in enumerate(chosen)
                ),
            )
        )
        before, cell_before = hidden[step], None if cell is None else cell[step]
    return Walk(layer, row, tuple(chosen), tuple(steps))


def units_that_matter(layer: LayerStates, flow: LayerFlow, row: int, count: int) -> list[int]:
    """Return the units with the largest effect on the loss in one sequence, by the sum over t of |dL/dh_t h_t|."""
    weight = (flow.hidden[row] * layer.h[row]).abs().double().sum(0)
    if not weight.any():  # zero gradient, at the minimum of the loss: rank by variation instead
        weight = layer.h[row].double().std(0, correction=0)
    return torch.argsort(weight, descending=True, stable=True)[:count].tolist()


def signed(value: float, digits: int = 3) -> str:
    """Return a number with so many decimals and a proper minus sign, without negative zero."""
    text = f"{value:.{digits}f}"
    return (text[1:] if text.startswith("-") and float(text) == 0 else text).replace("-", "−")


def factor(value: float) -> str:
    """Return a number as a factor in a product, in brackets if negative."""
    text = signed(value)
    return f"({text})" if text.startswith("−") else text
