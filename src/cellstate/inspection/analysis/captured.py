"""Capture the inputs, outputs and gradients of a model's backbone for the analyses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cellstate.backbone import Backbone, State, evaluating
from cellstate.inspection.analysis.gradient_flow import GradientFlow, gradient_flow
from cellstate.inspection.analysis.memory_horizon import (
    Divergence,
    MemoryCurve,
    categorical_divergence,
    gaussian_divergence,
    influence,
    point_divergence,
)
from cellstate.inspection.analysis.states import States, open_states

if TYPE_CHECKING:
    from cellstate.data.batch import Batch
    from cellstate.model import SequenceModel

# by ``model.inspector.PredictionKind``
DIVERGENCES: dict[str, Divergence] = {
    "categorical": categorical_divergence,
    "normal": gaussian_divergence,
    "values": point_divergence,
}


@dataclass(frozen=True)
class Captured:
    """One pass of a model's backbone over a batch."""

    backbone: Backbone
    inputs: Tensor  # (B, T, F), of the backbone: embedded symbols, segments of a window ...
    state: State | None
    lengths: Tensor | None
    outputs: Tensor  # (B, T, D), of the backbone
    gradient: Tensor  # (B, T, D), dL/d outputs of the model's loss on the batch
    loss: float

    def states(self) -> States:
        """Return all gates and states of the backbone in that pass."""
        return open_states(self.backbone, self.inputs, self.state, self.lengths, self.outputs)

    def gradient_flow(self) -> GradientFlow:
        """Return the gradient of the model's loss at all steps of the backbone."""
        return gradient_flow(self.states(), self.gradient)


def capture(model: SequenceModel, batch: Batch) -> Captured:
    """Run a model on a batch in evaluation mode, every row from the initial state, and differentiate its loss.

    The loss is a mean over samples or tokens, so that the gradient of each row includes that factor.

    Args:
        model: any model that calls its backbone once per pass.
        batch: of its data, on its device.

    Raises:
        ValueError: the backbone was not called exactly once.
    """
    calls: list[tuple[tuple[Any, ...], dict[str, Any], Tensor]] = []

    def record(_: Any, args: tuple[Any, ...], options: dict[str, Any], results: tuple[Tensor, State]) -> None:
        calls.append((args, options, results[0]))

    backbone = model.backbone
    hook = backbone.register_forward_hook(record, with_kwargs=True)
    try:
        with evaluating(model), torch.enable_grad():
            given = batch._replace(reset=None)  # without carried state
            output = model.compute_output(given)
            loss = model.loss(output, given)
            if len(calls) != 1:
                raise ValueError(f"the model called its backbone {len(calls)} times in a pass; expected once")
            args, options, outputs = calls[0]
            (gradient,) = torch.autograd.grad(loss, outputs)
    finally:
        hook.remove()
    named = {**dict(zip(("inputs", "state", "lengths"), args, strict=False)), **options}
    return Captured(
        backbone=backbone,
        inputs=named["inputs"].detach(),
        state=named.get("state"),
        lengths=named.get("lengths"),
        outputs=outputs.detach(),
        gradient=gradient.detach(),
        loss=float(loss.detach()),
    )


def influence_on(
    model: SequenceModel, batch: Batch, lags: Sequence[int] | None = None, *, replacements: int = 1, seed: int = 0
) -> MemoryCurve:
    """Return how much a model's last prediction changes when one input step is replaced; see ``influence``.

    The prediction is the distribution of the classes, or of the next symbol or state after the last step, or the
    forecast: a normal distribution if the head outputs one, else values (or quantiles) with a variance of 1, in units
    of the training split's standard deviation.

    Args:
        model: a trained model.
        batch: of its data, on its device; the delay is counted from each row's last valid step.
        lags: delays, in steps; None: ``default_lags``.
        replacements: number of other sequences to take each step from.
        seed: of their choice.

    Raises:
        ValueError: the inspector has no ``prediction_kind``, fewer than 2 sequences, or a delay that is too long.
    """
    lengths, inspector = batch.lengths, model.inspector
    with evaluating(model):
        return influence(
            lambda inputs: inspector.last_prediction(inputs, lengths), batch.inputs, lags,
            divergence=divergence_of(model), lengths=lengths, replacements=replacements, seed=seed,
        )  # fmt: skip


def divergence_of(model: SequenceModel) -> Divergence:
    """Return the divergence between two outputs of a model."""
    kind = model.inspector.prediction_kind
    if kind is None:
        raise ValueError(f"the inspector of {type(model).__name__} has no prediction_kind")
    return DIVERGENCES[kind]
