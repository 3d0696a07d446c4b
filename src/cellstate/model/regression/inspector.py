"""Support of ``cellstate inspect`` for regressors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from cellstate.model.inspector.answers import Answers
from cellstate.model.inspector.whole_sequence import WholeSequenceInspector

if TYPE_CHECKING:
    from cellstate.model.regression.model import Regressor


class RegressorInspector(WholeSequenceInspector):
    """The answer at each step is the value of each target."""

    model: Regressor
    prediction_kind = "values"

    def spoken(self, outputs: Tensor) -> Answers:
        """Return the unscaled values."""
        spec = self.model.spec
        values = outputs.cpu().numpy() * np.asarray(spec.std) + np.asarray(spec.mean)
        return Answers(spec.targets, values, probabilities=False)

    def own_targets(self, outputs: Tensor) -> Tensor:
        """Return the values plus one standard deviation, so that the gradient is not 0."""
        return outputs + 1
