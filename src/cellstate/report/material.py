"""What a report is made of: the facts of a finished run, and what a task adds to its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from cellstate.data import SequenceData
from cellstate.data.loader import BatchLoader
from cellstate.model import SequenceModel
from cellstate.report.theme import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPTIMA = ("optimum", "optimum_realised")
HIGHER_IS_BETTER = frozenset({"accuracy", "f1", "auroc", "closing_accuracy", "recall_accuracy"})


@dataclass(frozen=True)
class Drawing:
    """A figure before it is drawn, as each theme draws it for itself."""

    name: str  # of the file in figures/
    caption: str  # how to read it
    draw: Callable[[Theme], Figure]


@dataclass(frozen=True)
class Sample:
    """A piece of text that the model wrote."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """What a task shows beyond its learning curves."""

    title: str = ""
    drawings: Sequence[Drawing] = ()
    samples: Sequence[Sample] = ()


@dataclass(frozen=True)
class Material:
    """A finished run: what ``metrics.json`` and ``metrics.csv`` hold, the data, the model with its best weights."""

    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    data: SequenceData
    model: SequenceModel

    @property
    def split(self) -> str:
        """The split whose scores are the result."""
        return self.data.reported_split

    def reference(self, metric: str) -> Mapping[str, float]:
        """Name of a predictor -> what it reaches on the reported split."""
        return self.metrics["reference"].get(metric, {})

    @cached_property
    def scores(self) -> Any:
        """The predictions of the best weights on the reported split.

        After a test they are the model's newest. Without a test split the newest are those of the last epoch, so the
        validation split is predicted anew.
        """
        if self.split == "test":
            return self.model.last_scores
        scores = self.model.new_scores()
        loader = BatchLoader(self.data.prepared.splits[self.split], self.data.batch_size, shuffle=False)
        with torch.no_grad():
            for batch in loader:
                moved = self.model.transfer_batch_to_device(batch, self.model.device, 0)
                self.model.update_scores(scores, self.model.compute_output(moved), moved)
        return scores


def spoken(predictor: str) -> str:
    """Return the name of a predictor as people say it."""
    return predictor.replace("_", " ")
