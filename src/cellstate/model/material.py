"""A finished run, as input of the figures and tables of its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from cellstate.data import SequenceData
from cellstate.data.loader import BatchLoader
from cellstate.model.base import SequenceModel

Rows = list[dict[str, Any]]  # of a table: column -> value


@dataclass(frozen=True)
class Material:
    """A finished run: the content of ``metrics.json`` and ``metrics.csv``, the data, the model with best weights."""

    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    data: SequenceData
    model: SequenceModel

    @property
    def split(self) -> str:
        """The split whose scores are reported: never ``test`` if the run did not evaluate it."""
        if self.metrics.get("val") and not self.metrics.get("test"):
            return "val"
        return self.data.reported_split

    @property
    def test_locked(self) -> bool:
        """Whether there is a test split that the run did not evaluate."""
        return self.data.test_locked or ("test" in self.data.prepared.splits and self.split != "test")

    def reference(self, metric: str) -> Mapping[str, float]:
        """Return name of a reference -> its score on the reported split."""
        return self.metrics["reference"].get(metric, {})

    @cached_property
    def scores(self) -> Any:
        """The predictions with the best weights on the reported split.

        After a test they are the model's last ones. Without a test split the last ones are those of the last epoch, so
        the validation split is predicted again.
        """
        if self.split == "test":
            return self.model.last_scores
        scores = self.model.new_scores()
        loader = BatchLoader(self.data.prepared.splits[self.split], self.data.batch_size, shuffle=False)
        with torch.no_grad(), self.precision():
            for batch in loader:
                moved = self.model.transfer_batch_to_device(batch, self.model.device, 0)
                self.model.update_scores(scores, self.model.compute_output(moved), moved)
        return scores

    def precision(self) -> AbstractContextManager[Any]:
        """Compute in the precision of the run's scores."""
        try:
            trainer = self.model.trainer
        except RuntimeError:  # raised by Lightning for a model without a trainer
            return nullcontext()
        return trainer.precision_plugin.forward_context()
