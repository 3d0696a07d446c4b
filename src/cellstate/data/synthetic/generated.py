"""What every generated task of separate sequences shares: three splits drawn by index, fixed or fresh every epoch."""

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
STEP_BYTES = 16  # that a step of a sequence takes at least, held and while it is drawn
LIKELY_OVERLAP = 0.01  # shared samples to expect, from which on a user is told of them


def check_request(split: str, problems: Sequence[str] = ()) -> None:
    """Reject a request of a generator.

    Raises:
        RequestError: there are ``problems``, or no such split; a line each.
    """
    unknown = [] if split in SPLITS else [f"split {split!r} is unknown{did_you_mean(split, SPLITS)}"]
    if problems or unknown:
        raise RequestError(*problems, *unknown)


class GeneratedData(SequenceData):
    """Sequences that are drawn by index: sample i of a split is the same whoever asks for it, and whenever.

    Subclasses say what they ask and how samples are drawn: ``question``, ``specification`` and ``draw``.

    Args:
        train_size: sequences to train on, in one epoch.
        val_size: sequences to validate on.
        test_size: sequences to test on.
        fresh: draw new training sequences for every epoch: epoch e trains on the indices from ``e * train_size`` on.
        batch_size: sequences in one batch.
        seed: of the data, and of the order of the training sequences.
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
        """Return what is asked of a sequence, as a question of one line."""

    @abstractmethod
    def specification(self, training: TensorSamples) -> DataSpec:
        """Return what a model needs to know; what is fitted is fitted to the ``training`` samples alone."""

    @abstractmethod
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        """Return the samples ``indices (N,)`` of a split, a pure function of both and of the parameters.

        Raises:
            RequestError: no such samples exist; a line for each problem of the parameters.
        """

    def longest(self) -> int:
        """Return the steps of a sequence, or fewer: the memory that samples take is estimated by them."""
        return 1

    def notes(self) -> tuple[str, ...]:
        """Return what else a user should know about the data, a line each."""
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
        fresh = (", the training sequences new in every epoch",) if self.fresh else ()
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
        return {"order": "drawn by index, from a stream of each split's own", "fresh": self.fresh}

    def training_samples(self, epoch: int) -> Samples:
        """Return the training samples of an epoch that has its own."""
        size = self.sizes["train"]
        return self.draw("train", np.arange(epoch * size, (epoch + 1) * size)).to(self.device())

    def samples(self, split: str) -> TensorSamples:
        """Return the samples of a split (in training: of its first epoch)."""
        samples = self.prepared.splits[split]
        assert isinstance(samples, TensorSamples)
        return samples

    def overlap(self, sequences: int) -> tuple[str, ...]:
        """Return a note where splits drawn independently from so many equally likely ``sequences`` may share some.

        Of n and m samples, ``n m / sequences`` pairs are expected to be equal.
        """
        train, *others = self.sizes.values()
        if sequences > train * sum(others) / LIKELY_OVERLAP:  # which may be more than a float holds
            return ()
        return (f"there are too few sequences ({sequences:,}) to keep the splits apart: they may overlap",)
