"""Base class of generated tasks: three splits drawn by index, fixed or fresh every epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from cellstate.config.types import PositiveInt
from cellstate.data.batch import DataSpec
from cellstate.data.datamodule import Prepared, SequenceData
from cellstate.data.loader import BatchLoader, ResumableLoader
from cellstate.data.samples import Samples, TensorSamples
from cellstate.errors import RequestError, did_you_mean
from cellstate.runs.memory import refuse_beyond_memory

SPLITS = ("train", "val", "test")
STEP_BYTES = 16  # least memory per step, stored and while it is drawn
LIKELY_OVERLAP = 0.01  # expected number of shared samples at which a note is given


def check_request(split: str, problems: Sequence[str] = ()) -> None:
    """Reject an invalid request to a generator.

    Raises:
        RequestError: there are ``problems``, or the split is unknown; a line each.
    """
    unknown = [] if split in SPLITS else [f"split {split!r} is unknown{did_you_mean(split, SPLITS)}"]
    if problems or unknown:
        raise RequestError(*problems, *unknown)


class GeneratedData(SequenceData):
    """Sequences drawn by index: sample i of a split is a pure function of i and the parameters.

    Subclasses define ``question``, ``specification`` and ``draw``.

    Args:
        train_size: training sequences per epoch.
        val_size: validation sequences.
        test_size: test sequences.
        fresh: draw new training sequences in every epoch: epoch e uses the indices from ``e * train_size`` on.
        batch_size: sequences per batch.
        seed: of the data and the order of the training sequences.
    """

    def __init__(
        self,
        *,
        train_size: PositiveInt = 8000,
        val_size: PositiveInt = 2000,
        test_size: PositiveInt = 2000,
        fresh: bool = False,
        batch_size: PositiveInt = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        self.sizes = dict(zip(SPLITS, (train_size, val_size, test_size), strict=True))
        self.fresh = fresh

    @abstractmethod
    def question(self) -> str:
        """Return the task as a one-line question."""

    @abstractmethod
    def specification(self, training: TensorSamples) -> DataSpec:
        """Return the specification, fitted to the ``training`` samples only."""

    @abstractmethod
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        """Return the samples ``indices (N,)`` of a split, a pure function of the arguments and parameters.

        Raises:
            RequestError: the parameters are invalid; a line for each problem.
        """

    def longest(self) -> int:
        """Return a lower bound on the steps of a sequence, to estimate the memory of the samples."""
        return 1

    def notes(self) -> tuple[str, ...]:
        """Return further facts on the data, a line each."""
        return ()

    @override
    def prepare(self) -> Prepared:
        sequences = sum(self.sizes.values())
        refuse_beyond_memory(
            STEP_BYTES * sequences * self.longest(),
            f"drawing {sequences:,} sequences of {self.longest():,} steps",
            "set a smaller data.train_size, or shorter sequences",
        )
        splits = {split: self.draw(split, np.arange(size)) for split, size in self.sizes.items()}
        counted = ", ".join(f"{size:,} {split}" for split, size in self.sizes.items())
        fresh = (", with new training sequences in every epoch",) if self.fresh else ()
        fact = "".join((f"{self.question()} {counted}", *fresh))
        return Prepared(self.specification(splits["train"]), splits, (fact, *self.notes()))

    @override
    def loader(self, split: str, *, shuffle: bool = False) -> ResumableLoader:
        if not (shuffle and self.fresh):
            return super().loader(split, shuffle=shuffle)
        return BatchLoader(
            self.resident(split),
            self.batch_size,
            shuffle=True,
            seed=self.seed,
            shard=self.shard(),
            renew=self.training_samples,
        )

    @override
    def split_rule(self) -> dict[str, Any]:
        return {"order": "drawn by index, from an independent stream per split", "fresh": self.fresh}

    def training_samples(self, epoch: int) -> Samples:
        """Return the training samples of an epoch with ``fresh``."""
        size = self.sizes["train"]
        return self.draw("train", np.arange(epoch * size, (epoch + 1) * size)).to(self.device())

    def samples(self, split: str) -> TensorSamples:
        """Return the samples of a split (for training: of the first epoch)."""
        samples = self.prepared.splits[split]
        assert isinstance(samples, TensorSamples)
        return samples

    def overlap(self, sequences: int) -> tuple[str, ...]:
        """Return a note if splits drawn independently from so many equally likely ``sequences`` may overlap.

        Of n and m samples, ``n m / sequences`` pairs are expected to be equal.
        """
        train, *others = self.sizes.values()
        if sequences > train * sum(others) / LIKELY_OVERLAP:  # an int, as it may exceed the range of floats
            return ()
        return (f"there are too few sequences ({sequences:,}) for disjoint splits: they may overlap",)
