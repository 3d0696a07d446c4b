"""Support of ``cellstate inspect`` for forecasters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

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
            first = results[0][: len(results[0]) // steps]  # of this window; each row then ends with one step's
            return first.transpose(0, 1).flatten(0, 1).unsqueeze(1), results[1]

        backbone: Any = self.model.backbone
        steps = read.shape[1] // self.model.segment
        hook = backbone.register_forward_hook(each_step)
        try:
            return self.model(read.expand(steps, -1, -1))
        finally:
            hook.remove()

    def behind_normalisation(self, windows: Tensor) -> BehindNormalisation:
        """Return the forecast of the network from normalised windows, and those windows."""
        model, columns = self.model, len(self.model.spec.targets)
        with torch.no_grad():
            window, covariates, frame = model.normalised(windows)

        def forecast(joined: Tensor) -> Tensor:
            rows = torch.zeros(len(joined), dtype=torch.long, device=joined.device)
            return model.from_normalised(joined[..., :columns], joined[..., columns:], frame.take(rows))

        return forecast, torch.cat((window, covariates), dim=-1)

    def read_sequences(self, data: SequenceData, path: str, most: int) -> FileSequences:
        """Return the last window of each series, scaled; targets are one standard deviation above the forecast."""
        windows, names = newest_windows(self.model, data, path, most)
        inputs = windows.float()
        targets = self.model.kind.point(self.model(inputs)) + 1
        keys = tuple(f"the last window of {name}" if name else "the last window" for name in names)
        return FileSequences(Batch(inputs, targets), keys)
