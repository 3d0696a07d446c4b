"""Inspect a recurrent network trained by a plain PyTorch script, without a model around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cellstate.backbone import last_outputs
from cellstate.errors import RequestError
from cellstate.inspection.accepted import (
    Divergence,
    Outputs,
    as_features,
    as_inputs,
    check_functions,
    check_outputs,
    check_prediction,
    checked_loss,
)
from cellstate.inspection.analysis import (
    MemoryCurve,
    States,
    describe_units,
    influence,
    loss_flow,
    open_states,
    units_that_matter,
    walk_through,
)
from cellstate.inspection.analysis.memory_horizon import default_lags, divergence_in_words, point_divergence
from cellstate.inspection.folder import check_empty, writing
from cellstate.inspection.inspecting import check_counts
from cellstate.inspection.measures import LAGS, recall_or_why
from cellstate.inspection.result import Inspection
from cellstate.model.inspector.reading import Reading, spoken_step, symbols_of


def inspect_network(
    network: nn.Module,
    inputs: Any,
    *,
    lengths: Any = None,
    features: Sequence[str] | None = None,
    loss: Outputs | None = None,
    predict: Outputs | None = None,
    divergence: Divergence | None = None,
    sequence: int = 1,
    units: int = 3,
    seed: int = 0,
    output: str | Path | None = None,
) -> Inspection:
    """Inspect a recurrent network that was trained by a plain PyTorch script.

        network = cellstate.inspection.analysis.load_plain("model.pt")  # or the nn.LSTM itself
        head = torch.nn.Linear(64, 10)  # of the script, with its weights
        found = cellstate.inspect_network(network, inputs, predict=lambda outputs: head(outputs[:, -1]), output="seen")

    Args:
        network: an ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``, the result of ``load_plain``, or a backbone.
        inputs: ``(B, T, F)``, batch first: a tensor or an array of floating-point numbers, or lists of numbers.
        lengths: valid steps of each row, ``(B,)``; None: all.
        features: names of the F features; None: ``feature 1``, ``feature 2`` ...
        loss: from the network's outputs ``(B, T, D)`` to the loss ``()`` that is differentiated. None: the outputs
            after each row's last step, projected on a random direction.
        predict: from the outputs ``(B, T, D)`` to the prediction after the last step, ``(B, K)``, whose change is
            measured when an input is replaced. None: those outputs themselves.
        divergence: between two predictions, ``(B, K)`` each, to ``(B,)``, such as
            ``analysis.memory_horizon.categorical_divergence`` of logits; None: that of logits if ``predict`` is
            given, else half of the squared distance.
        sequence: row that is drawn and walked through, from 1.
        units: number of units in the walk.
        seed: of the random direction, replacements and shuffles.
        output: a new or empty folder for arrays, figures and page; None writes nothing.

    Raises:
        RequestError: an unsupported network, inputs that do not fit, or a function that returns the wrong type or
            shape; nothing is written.
        RunError: the output cannot be written.
    """
    check_empty(output)
    check_counts(sequence=sequence, units=units)
    check_functions(loss=loss, predict=predict, divergence=divergence)
    given = Given(network, *as_inputs(inputs, network, lengths))
    if sequence > len(given.inputs):
        raise RequestError(
            f"sequence={sequence}: there are {len(given.inputs)} sequences; choose one from 1 to {len(given.inputs)}"
        )
    names = as_features(features, given.inputs.shape[-1])
    found = inspected(given, names, loss, predict, divergence, row=sequence - 1, units=units, seed=seed)
    if output is not None:
        from cellstate.inspection.page import write  # loads matplotlib

        with writing(output, found.experiment) as folder:
            write(found, folder)
    return found


@dataclass(frozen=True)
class Given:
    """A network with its ``inputs (B, T, F)`` and ``lengths (B,)`` or None."""

    network: nn.Module
    inputs: Tensor
    lengths: Tensor | None

    @cached_property
    def stops(self) -> Tensor:
        """Valid steps of each row, ``(B,)``."""
        return torch.full((len(self.inputs),), self.inputs.shape[1]) if self.lengths is None else self.lengths

    def last(self, outputs: Tensor) -> Tensor:
        """Return outputs ``(B, T, D)`` after each row's last step, ``(B, D)``."""
        return last_outputs(outputs, self.lengths)

    def row(self, number: int, names: tuple[str, ...]) -> Reading:
        """Return the inputs of one row."""
        read = self.inputs[number, : int(self.stops[number])].double().cpu().numpy()
        return Reading(tuple(map(spoken_step, read)), read, names)


def inspected(
    given: Given, names: tuple[str, ...], loss: Outputs | None, predict: Outputs | None, divergence: Divergence | None,
    *, row: int, units: int, seed: int,
) -> Inspection:  # fmt: skip
    """Run all analyses; ``names`` are those of the features, ``row`` is the sequence of the walk."""
    states = opened(given.network, given.inputs, given.lengths)
    check_outputs(states.outputs)
    flow = loss_flow(checked_loss(loss or random_projection(given, states, seed)), states)
    symbols = symbols_of(given.inputs)
    recalled, no_readout = recall_or_why(states, given.inputs if symbols is None else symbols, seed)
    compare = divergence or (None if predict is not None else point_divergence)
    check_prediction(predict or given.last, states.outputs, compare)
    top = [at for at, layer in enumerate(states.layers) if layer.direction == "forward"][-1]
    chosen = units_that_matter(states.layers[top], flow.layers[top], row, units)
    count = len(given.inputs)
    return Inspection(
        source=f"a plain {type(given.network).__name__}",
        experiment="plain",
        task="",
        sequences=f"{count:,} sequence{'s' if count > 1 else ''}, as given",
        keys=tuple(f"sequence {number}" for number in range(1, count + 1)),
        shown=row,
        reading=given.row(row, names),
        inputs=given.inputs,
        states=states,
        units=tuple(describe_units(layer) for layer in states.layers),
        flow=flow,
        loss="the given loss" if loss else "the outputs after the last step, projected on a random direction",
        influence=depends(given, predict or given.last, compare, seed),
        divergence=divergence_in_words(compare),
        recall=recalled,
        left_out={"linear readout of the state": no_readout} if no_readout else {},
        walk=walk_through(states.layers[top], row, chosen),
    )


def random_projection(given: Given, states: States, seed: int) -> Outputs:
    """Return a loss: the outputs after each row's last step, projected on a random direction."""
    direction = torch.randn(states.outputs.shape[-1], generator=torch.Generator().manual_seed(seed))
    return lambda outputs: (given.last(outputs) @ direction.to(outputs)).mean()


def opened(network: nn.Module, inputs: Tensor, lengths: Tensor | None) -> States:
    """Return the states of a network; RequestError if they cannot be computed."""
    try:
        return open_states(network, inputs, None, lengths)
    except (ValueError, RuntimeError) as error:
        raise RequestError(f"network: cannot be run on these inputs ({str(error).splitlines()[0]})") from error


def depends(given: Given, predict: Outputs, divergence: Divergence | None, seed: int) -> MemoryCurve | None:
    """Return how much the prediction depends on earlier inputs; None for a single sequence."""
    inputs, lengths = given.inputs, given.lengths
    if len(inputs) < 2:
        return None
    return influence(
        lambda changed: predict(open_states(given.network, changed, None, lengths).outputs),
        inputs,
        default_lags(int(given.stops.max()), LAGS),
        divergence=divergence,
        lengths=lengths,
        replacements=max(1, min(8, 128 // len(inputs))),
        seed=seed,
    )
