"""Support of ``cellstate inspect`` for forecasters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from cellstate.data.batch import Batch
from cellstate.model.forecasting.prediction import newest_windows
from cellstate.model.inspector.answers import Answers
from cellstate.model.inspector.inspector import BehindNormalisation, FileSequences, Inspector, row_of
from cellstate.model.inspector.reading import Reading, spoken_step

if TYPE_CHECKING:
    from cellstate.data import SequenceData
    from cellstate.model.forecasting.model import Forecaster


class ForecasterInspector(Inspector):
    """One step of the network reads a segment of the window; the answer at each step is the first forecast step."""

    model: Forecaster
    loss_in_words = "the loss of the forecast"

    def __init__(self, model: Forecaster) -> None:
        super().__init__(model)
        self.prediction_kind, self.patch = model.kind.prediction_kind, model.segment

    def reading(self, batch: Batch, row: int) -> Reading:
        """Return a window of the targets, unscaled, one segment per step."""
        spec, segment, columns = self.model.spec, self.model.segment, len(self.model.spec.targets)
        read = row_of(batch, row)[0].cpu().double().numpy()
        values = read[:, :columns] * np.asarray(spec.std) + np.asarray(spec.mean)
        names = []
        for steps in values.reshape(-1, segment, columns):
            first, last = spoken_step(steps[0]), spoken_step(steps[-1])
            names.append(first if segment == 1 else f"{first} … {last}")
        return Reading(tuple(names), values, spec.targets)

    def answers(self, batch: Batch, row: int) -> Answers:
        """Return the forecast of the first step if the window ended after each segment."""
        spec = self.model.spec
        first = self.model.kind.point(self._after_each_step(row_of(batch, row))).double().cpu().numpy()[:, 0]  # (S, C)
        return Answers(spec.targets, first * np.asarray(spec.std) + np.asarray(spec.mean), probabilities=False)

    def _after_each_step(self, read: Tensor) -> Tensor:
        """Return the forecast from each output of the network on a window ``(1, W, C)``, ``(S, ...)``."""

        def each_step(_module: Any, _args: Any, results: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
            return results[0][:1].transpose(0, 1), results[1]  # (S, 1, D): row s ends with the output of step s

        backbone: Any = self.model.backbone
        hook = backbone.register_forward_hook(each_step)
        try:
            return self.model(read.expand(read.shape[1] // self.model.segment, -1, -1))
        finally:
            hook.remove()

    def behind_normalisation(self, windows: Tensor) -> BehindNormalisation:
        """Return the forecast through embedding, backbone and head, and the normalised windows."""
        model, seen = self.model, []

        def keep(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen.append(args[0].detach())

        def forecast(window: Tensor) -> Tensor:
            segments = window.reshape(len(window), -1, model.segment * window.shape[-1])
            hook = model.embedding.register_forward_pre_hook(lambda *_: (segments,))
            try:  # forward normalises another window than the one that is read
                return model(windows[:1].expand(len(window), -1, -1))
            finally:
                hook.remove()

        hook = model.embedding.register_forward_pre_hook(keep)
        try:
            with torch.no_grad():
                model(windows)
        finally:
            hook.remove()
        return forecast, seen[0].view(windows.shape)

    def read_sequences(self, data: SequenceData, path: str, most: int) -> FileSequences:
        """Return the last window of each series, scaled; targets are one standard deviation above the forecast."""
        histories, known, names = newest_windows(self.model, data, path)
        inputs = self.model.windows(histories[:most], None if known is None else known[:most]).float()
        targets = self.model.kind.point(self.model(inputs)) + 1
        keys = tuple(f"the last window of {name}" if name else "the last window" for name in names[:most])
        return FileSequences(Batch(inputs, targets), keys)
