"""Support of ``cellstate inspect`` for classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from cellstate.data.batch import Batch
from cellstate.model.inspector.answers import Answers
from cellstate.model.inspector.reading import Reading
from cellstate.model.inspector.whole_sequence import WholeSequenceInspector

if TYPE_CHECKING:
    from cellstate.model.classification.base import SequenceClassifier


class ClassifierInspector(WholeSequenceInspector):
    """The answer at each step is the distribution over the classes.

    Where the backbone stands on a stem that pools, one of its steps is a patch of several steps of the sequence.
    """

    model: SequenceClassifier
    prediction_kind = "categorical"

    def __init__(self, model: SequenceClassifier) -> None:
        super().__init__(model)
        self.patch = model.stride

    def reading(self, batch: Batch, row: int) -> Reading:
        """Return one sequence, one patch per step of the backbone; the last value fills up the last patch."""
        read = super().reading(batch, row)
        if self.patch == 1:
            return read
        names, values = read.names, read.values
        patches = (names[first : first + self.patch] for first in range(0, len(names), self.patch))
        if values is not None:
            values = np.pad(values, ((0, -len(names) % self.patch), (0, 0)), mode="edge")
        return Reading(tuple(f"{patch[0]} … {patch[-1]}" for patch in patches), values, read.features)

    def spoken(self, outputs: Tensor) -> Answers:
        """Return the probability of each class."""
        return Answers(self.model.spec.classes, outputs.softmax(-1).cpu().numpy(), probabilities=True)

    def own_targets(self, outputs: Tensor) -> Tensor:
        """Return the likeliest class."""
        return outputs.argmax(-1)

    def check(self, rows: Tensor, lengths: list[int]) -> None:
        """Reject values that do not occur in the data (RequestError)."""
        self.model.predict(rows, lengths)
