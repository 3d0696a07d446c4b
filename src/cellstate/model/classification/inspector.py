"""Support of ``cellstate inspect`` for classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from cellstate.model.inspector.answers import Answers
from cellstate.model.inspector.whole_sequence import WholeSequenceInspector

if TYPE_CHECKING:
    from cellstate.model.classification.model import Classifier


class ClassifierInspector(WholeSequenceInspector):
    """The answer at each step is the distribution over the classes."""

    model: Classifier
    prediction_kind = "categorical"

    def spoken(self, outputs: Tensor) -> Answers:
        """Return the probability of each class."""
        return Answers(self.model.spec.classes, outputs.softmax(-1).cpu().numpy(), probabilities=True)

    def own_targets(self, outputs: Tensor) -> Tensor:
        """Return the likeliest class."""
        return outputs.argmax(-1)

    def check(self, rows: Tensor, lengths: list[int]) -> None:
        """Reject values that do not occur in the data (RequestError)."""
        self.model.predict(rows, lengths)
