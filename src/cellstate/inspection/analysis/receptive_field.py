"""Which inputs a forecast can see: the Jacobian of every forecast step with respect to every input step.

A forecasting head that slices the last outputs of a recurrent network hides the newest inputs from its first steps, as
the output from which step j is read was computed before them. A window that is cut incorrectly leaks the future. Both
can have good losses; here they are errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cellstate.backbone import evaluating

if TYPE_CHECKING:
    from cellstate.data.samples import WindowSamples
    from cellstate.model import SequenceModel


class ReceptiveFieldError(ValueError):
    """A step of a forecast does not see the newest input, or sees the future."""


@dataclass(frozen=True)
class ReceptiveField:
    """How strongly each step of a forecast depends on each step of the input.

    ``strength (horizon, S)`` is the largest |derivative| over sequences and features, exactly 0 for an unseen step.
    The first ``known`` of the S steps are known at the time of the forecast, the others are the future.
    """

    strength: Tensor
    known: int

    @property
    def mask(self) -> Tensor:
        """Inputs that each step sees, ``(horizon, S)`` bool."""
        return self.strength > 0

    @property
    def blind(self) -> list[int]:
        """Steps of the forecast, from 1, that do not see the newest input."""
        return (torch.nonzero(~self.mask[:, self.known - 1]).flatten() + 1).tolist()

    @property
    def leaking(self) -> list[tuple[int, int]]:
        """Pairs of a forecast step and a future step that it sees, both from 1."""
        return [(row + 1, step + 1) for row, step in torch.nonzero(self.mask[:, self.known :]).tolist()]

    def check(self) -> None:
        """Check the field.

        Raises:
            ReceptiveFieldError: lists the steps that do not see the newest input, and those that see the future.
        """
        problems = []
        if self.blind:
            seen = self.mask[:, : self.known].flip(1).int().argmax(1)[[step - 1 for step in self.blind]]
            newest = self.known - int(seen[0])
            problems.append(
                f"forecast steps {_listed(self.blind)} of {len(self.strength)} do not see the newest input, step "
                f"{self.known} (the newest that step {self.blind[0]} sees is {newest}): "
                "compute the entire horizon from the state after the last step"
            )
        if self.leaking:
            steps = sorted({step for step, _ in self.leaking})
            row, ahead = self.leaking[0]
            problems.append(
                f"forecast steps {_listed(steps)} see the future: step {row} depends on the value {ahead} "
                f"step{'s' if ahead > 1 else ''} after the newest input"
            )
        if problems:
            raise ReceptiveFieldError("; ".join(problems))


def receptive_field(forecast: Callable[[Tensor], Tensor], inputs: Tensor, known: int | None = None) -> ReceptiveField:
    """Return the receptive field of any differentiable forecast.

    Each step is differentiated along a random direction over its outputs, so that they do not cancel.

    Args:
        forecast: from ``(N, S, F)`` to ``(N, horizon, ...)``, each sequence independently. Use double precision, in
            which derivatives through hundreds of steps do not underflow.
        inputs: some sequences ``(B, S, F)``.
        known: number of the S steps that are known at the time of the forecast; None: all.
    """
    with torch.no_grad():
        horizon = forecast(inputs[:1]).shape[1]
    copies = inputs.detach().repeat(horizon, 1, 1).requires_grad_()  # copy j is differentiated by step j
    with torch.enable_grad():
        found = forecast(copies).reshape(len(copies), horizon, -1)
        rows = found.view(horizon, len(inputs), horizon, -1)
        steps = torch.arange(horizon, device=inputs.device)
        directions = torch.randn(found.shape[-1], generator=torch.Generator().manual_seed(0)).to(found)
        (gradient,) = torch.autograd.grad((rows[steps, :, steps] * directions).sum(), copies)
    strength = gradient.abs().view(horizon, len(inputs), inputs.shape[1], -1).amax((1, 3))
    return ReceptiveField(strength, inputs.shape[1] if known is None else known)


def head_field(model: SequenceModel, windows: Tensor) -> ReceptiveField | None:
    """Return the receptive field in the *normalised* window, through embedding, backbone and head.

    Normalisation by the last value makes every step depend on that value, whatever the head does. So the derivative is
    taken after the normalisation.

    Args:
        model: run in double precision and without dropout, and restored afterwards.
        windows: ``(B, window, C + F)``, scaled as in batches.

    Returns:
        The field; None if the model is not a forecaster.
    """
    with _in_double(model):
        found = model.inspector.behind_normalisation(windows.double())
        return None if found is None else receptive_field(*found)


def data_field(model: nn.Module, samples: WindowSamples, count: int = 4) -> ReceptiveField:
    """Return the receptive field in the *series*, from the first row of a window to the end of the horizon.

    The derivative passes through the construction of batches, and so reveals leakage there. Covariates that are known
    in advance are excluded.

    Args:
        model: a forecaster; run in double precision and without dropout, and restored afterwards.
        samples: such as ``data.prepared.splits["val"]``.
        count: number of windows, evenly spaced over the samples.
    """
    chosen = torch.linspace(0, len(samples) - 1, min(count, len(samples)), device=samples.starts.device).long()
    span = torch.arange(-samples.window, samples.horizon, device=samples.starts.device)
    rows = samples.starts[chosen].unsqueeze(1) + span

    def forecast(series: Tensor) -> Tensor:
        """Forecast from segments ``(N, window + horizon, C)``, each inserted at its place in the series."""
        results = []
        for number, segment in enumerate(series):
            where = rows[number % len(chosen)]
            values = samples.values.double().index_put((where,), segment)
            covariates = None if samples.covariates is None else samples.covariates.double()
            moved = type(samples)(values, samples.starts, samples.window, samples.horizon, covariates)
            results.append(model(moved.batch(chosen[number % len(chosen)].view(1)).inputs))
        return torch.cat(results)

    with _in_double(model):
        return receptive_field(forecast, samples.values.double()[rows], known=samples.window)


def check_forecaster(model: SequenceModel, samples: WindowSamples, count: int = 4) -> ReceptiveField:
    """Check that every step sees the newest input and none sees the future, and return the field of the head.

    Raises:
        ReceptiveFieldError: the check fails.
        ValueError: the model is not a forecaster.
    """
    chosen = torch.linspace(0, len(samples) - 1, min(count, len(samples)), device=samples.starts.device).long()
    field = head_field(model, samples.batch(chosen).inputs)
    if field is None:
        raise ValueError(f"{type(model).__name__} is not a forecaster")
    field.check()
    data_field(model, samples, count).check()
    return field


@contextmanager
def _in_double(model: nn.Module) -> Iterator[None]:
    """Put a model into double precision and evaluation mode; weights and modes are restored exactly."""
    kept = [parameter.data for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.data = parameter.data.double()
    try:
        with evaluating(model):
            yield
    finally:
        for parameter, data in zip(model.parameters(), kept, strict=True):
            parameter.data = data


def _listed(steps: list[int]) -> str:
    shown = ", ".join(map(str, steps[:8]))
    return shown + (", …" if len(steps) > 8 else "")
