"""Base class of generated classification tasks: classes and reference scores."""

from __future__ import annotations

from abc import abstractmethod

import torch
from typing_extensions import override

from cellstate.data.baselines import majority
from cellstate.data.batch import DataSpec
from cellstate.data.datamodule import Scores
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.generated import GeneratedData


class GeneratedClassification(GeneratedData):
    """Generated sequences with one class each, which is a function of the sequence.

    Subclasses define ``class_names``, ``question`` and ``draw``.
    """

    gives = "classes"

    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""

    def input_values(self) -> tuple[float, ...]:
        """Return all values that a feature can have if features are symbols, empty if they are numbers."""
        return ()

    @override
    def specification(self, training: TensorSamples) -> DataSpec:
        features = training.inputs.shape[-1]
        return DataSpec(input_size=features, input_values=self.input_values(), classes=self.class_names())

    def optimum(self) -> Scores:
        """A perfect classifier exists, as the class is a function of the sequence (auroc needs all classes)."""
        sure = {"accuracy": 1.0, "loss": 0.0}
        found = len(self.labels(self.reported_split).unique())
        return {**sure, "f1": 1.0, "auroc": 1.0} if found == len(self.spec.classes) else sure

    def references(self) -> dict[str, Scores]:
        """Always predicting the most common class of the training split."""
        return majority(self.labels("train"), self.labels(self.reported_split), classes=len(self.spec.classes))

    def labels(self, split: str) -> torch.Tensor:
        """Return the classes of a split, ``(N,)``."""
        return self.samples(split).targets
