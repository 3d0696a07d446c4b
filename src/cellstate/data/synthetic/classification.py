"""What every generated classification task shares: three splits drawn by index, and the numbers beside a result."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from cellstate.annotations import PositiveInt
from cellstate.data.baselines import majority
from cellstate.data.batch import DataSpec
from cellstate.data.datamodule import Prepared, Scores, SequenceData
from cellstate.data.samples import TensorSamples
from cellstate.errors import did_you_mean

SPLITS = ("train", "val", "test")
LIKELY_OVERLAP = 0.01  # shared samples to expect, from which on a user is told of them


def split_problems(split: str) -> list[str]:
    """Return what is wrong with the name of a split: one line, or none."""
    return [] if split in SPLITS else [f"split {split!r} is unknown{did_you_mean(split, SPLITS)}"]


class GeneratedClassification(SequenceData):
    """Sequences that are drawn by index and have one class each, which the sequence determines.

    Subclasses say what they ask and how samples are drawn: ``class_names``, ``question`` and ``draw``.

    Args:
        train_size: sequences to train on.
        val_size: sequences to validate on.
        test_size: sequences to test on.
        batch_size: sequences in one batch.
        seed: of the data, and of the order of the training sequences.
    """

    def __init__(
        self,
        *,
        train_size: PositiveInt = 8000,
        val_size: PositiveInt = 2000,
        test_size: PositiveInt = 2000,
        batch_size: PositiveInt = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        self.sizes = dict(zip(SPLITS, (train_size, val_size, test_size), strict=True))

    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""

    @abstractmethod
    def question(self) -> str:
        """Return what is asked of a sequence, as a question of one line."""

    @abstractmethod
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        """Return the samples ``indices (N,)`` of a split, a pure function of both and of the parameters.

        Raises:
            RequestError: no such samples exist; a line for each problem of the parameters.
        """

    def notes(self) -> tuple[str, ...]:
        """Return what else a user should know about the data, a line each."""
        return ()

    @override
    def prepare(self) -> Prepared:
        splits = {split: self.draw(split, np.arange(size)) for split, size in self.sizes.items()}
        counted = ", ".join(f"{size:,} {split}" for split, size in self.sizes.items())
        input_size = splits["train"].inputs.shape[-1]
        spec = DataSpec(input_size=input_size, classes=self.class_names())
        return Prepared(spec, splits, (f"{self.question()} {counted}", *self.notes()))

    def optimum(self) -> Scores:
        """The class is a function of the sequence, so a perfect classifier exists (one class has no ranking)."""
        sure = {"accuracy": 1.0, "loss": 0.0}
        found = len(self.labels(self.reported_split).unique())
        return {**sure, "f1": 1.0, "auroc": 1.0} if found == len(self.spec.classes) else sure

    def references(self) -> dict[str, Scores]:
        """Always answering with the class that is more common in training."""
        return majority(self.labels("train"), self.labels(self.reported_split), classes=len(self.spec.classes))

    def labels(self, split: str) -> torch.Tensor:
        """Return the classes of a split, ``(N,)``."""
        samples = self.prepared.splits[split]
        assert isinstance(samples, TensorSamples)
        return samples.targets

    def overlap(self, sequences: int) -> tuple[str, ...]:
        """Return a note where splits drawn independently from so many equally likely ``sequences`` may share some.

        Of n and m samples, ``n m / sequences`` pairs are expected to be equal.
        """
        train, *others = self.sizes.values()
        if train * sum(others) < LIKELY_OVERLAP * sequences:
            return ()
        return (f"there are too few sequences ({sequences:,}) to keep the splits apart: they may overlap",)
