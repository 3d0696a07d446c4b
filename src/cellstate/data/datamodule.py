"""The datamodule that every task builds on: splits, loaders, fingerprint, and the numbers beside a result."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NoReturn

import lightning as L
import numpy as np
import torch

from cellstate.config.types import PositiveInt
from cellstate.data.batch import Batch, DataSpec, digest_text
from cellstate.data.loader import BatchLoader, RepeatedBatch, ResumableLoader, Shard
from cellstate.data.samples import Samples
from cellstate.errors import RequestError

Scores = dict[str, float]

# Splits below this size are copied to the accelerator once, where a batch is then one gather without any transfer.
RESIDENT_BYTES = 2**30


@dataclass(frozen=True)
class Prepared:
    """What a datamodule has once its data is read: the specification, and the samples of each split that exists."""

    spec: DataSpec
    splits: Mapping[str, Samples]
    facts: tuple[str, ...] = ()  # what a user should know about the data, a line each


class OpenSplits(dict[str, Samples]):
    """The splits that may be read, where the test split is locked: it is none of them, and asking for it says why."""

    def __missing__(self, split: str) -> NoReturn:
        if split != "test":
            raise KeyError(split)
        raise RequestError(
            "the test split is locked (test=false): nothing of it can be read in this run; once the choice is made, "
            "score it with cellstate evaluate checkpoint=FILE"
        )


class SequenceData(L.LightningDataModule):
    """A source of sequences with up to three splits, ``train``, ``val`` and ``test``.

    Subclasses implement ``prepare`` and, where theory or a simple rule gives one, ``optimum``, ``optimum_realised``
    and ``references``; ``split_rule`` to say how the splits were cut; and ``forget_test`` where they hold something of
    the test split beside ``prepared``. ``batch_size`` is the batch that the optimiser sees on all processes together.

    Attributes:
        fitted: a specification whose scaler, vocabulary and classes are to be used in place of those of the training
            split, for a model that was trained on other data; None fits them. Set it before the data is read.
        test_locked: whether the test split can no longer be read.
    """

    def __init__(self, *, batch_size: PositiveInt = 64, seed: int = 0) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed
        self.fitted: DataSpec | None = None
        self.test_locked = False
        self._repeated: tuple[int, int] | None = None  # times that an epoch has its one batch, and rows of that
        self._position: dict[str, int] | None = None  # of the training loader, where a run is resumed

    def __str__(self) -> str:
        """Return the class, and once the data is read what there is to know of it; Lightning's own expects tuples."""
        read: Prepared | None = self.__dict__.get("prepared")
        return "\n  ".join((type(self).__name__, *(read.facts if read else ("not read yet",))))

    __repr__ = __str__

    @abstractmethod
    def prepare(self) -> Prepared:
        """Read or generate the data.

        Raises:
            RequestError: a file, column or parameter that the user gave cannot be used.
        """

    @cached_property
    def prepared(self) -> Prepared:
        """The data, read at the first use."""
        prepared = self.prepare()
        if self.fitted is not None:
            check_same(prepared.spec, self.fitted)
        rows = len(prepared.splits["train"])
        if self._batch_counts_samples and self.batch_size > rows:
            raise RequestError(
                f"data.batch_size={self.batch_size} is larger than the training split, which has {rows:,} samples; "
                f"set data.batch_size={rows} or less"
            )
        return prepared

    _batch_counts_samples = True

    @property
    def spec(self) -> DataSpec:
        """What a model needs to know about the data."""
        return self.prepared.spec

    @property
    def reported_split(self) -> str:
        """The split whose scores are the result: ``test``, or ``val`` where the data has no test split."""
        return "test" if "test" in self.prepared.splits else "val"

    def optimum(self) -> Scores:
        """Return the score of the best possible predictor, metric by metric, where theory gives it."""
        return {}

    def optimum_realised(self) -> Scores:
        """Return the best score possible on the very samples of the reported split, where their noise is known."""
        return {}

    def with_scaled(self, scores: Scores) -> Scores:
        """Add ``mae_scaled`` and ``mse_scaled`` to ``mae`` and ``mse`` that are the same for every target."""
        std = np.asarray(self.spec.std)
        mae, mse = float(np.mean(scores["mae"] / std)), float(np.mean(scores["mse"] / std**2))
        return {**scores, "mae_scaled": mae, "mse_scaled": mse}

    def references(self) -> dict[str, Scores]:
        """Return metric -> name of a trivial predictor -> its score on the reported split."""
        return {}

    def reference_table(self) -> dict[str, Scores]:
        """Return metric -> name -> value: optimum, realised optimum and references, as ``metrics.json`` has it."""
        table: dict[str, Scores] = {}
        for name, scores in (("optimum", self.optimum()), ("optimum_realised", self.optimum_realised())):
            for metric, value in scores.items():
                table.setdefault(metric, {})[name] = value
        for metric, values in self.references().items():
            table.setdefault(metric, {}).update(values)
        return table

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the content of all splits and over the specification, hexadecimal.

        The specification counts because splits hold symbols by number and values by z-score: another alphabet or
        another unit is another data set.
        """
        digest = hashlib.sha256(digest_text(self.spec).encode())
        for split in sorted(self.prepared.splits):
            digest.update(split.encode())
            self.prepared.splits[split].update_digest(digest)
        return digest.hexdigest()

    @cached_property
    def split_record(self) -> dict[str, Any]:
        """How many samples each split has, and how it was cut, as plain values."""
        samples = {name: len(part) for name, part in self.prepared.splits.items()}
        return {"samples": samples, "seed": self.seed, **self.split_rule()}

    def split_rule(self) -> dict[str, Any]:
        """Return how the splits were cut (shares, borders, folds), as plain values."""
        return {}

    def lock_test(self) -> None:
        """Make the test split unreadable from here on: its samples are given up, and ``val`` is the split reported.

        Its fingerprint and size are taken before, so that the data is known again later. Without a test split nothing
        changes.
        """
        if "test" not in self.prepared.splits:
            return
        _ = self.fingerprint, self.split_record
        splits = OpenSplits({name: part for name, part in self.prepared.splits.items() if name != "test"})
        facts = (*self.prepared.facts, "the test split is locked (test=false): nothing of it is read")
        self.prepared, self.test_locked = replace(self.prepared, splits=splits, facts=facts), True
        self.forget_test()

    def forget_test(self) -> None:
        """Give up what is held of the test split beside ``prepared``."""

    # ------------------------------------------------------------------ what Lightning calls

    def setup(self, stage: str | None = None) -> None:
        """Read the data if that has not happened yet; training begins with its first batch."""
        _ = self.prepared
        if stage == "fit":
            self._position = None

    def state_dict(self) -> dict[str, int]:
        """Return the position of the loader that is trained on."""
        loader = None if self.trainer is None else self.trainer.train_dataloader
        return loader.state_dict() if isinstance(loader, ResumableLoader) else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Have training begin at a position.

        Lightning gives it to the loader by itself only where it takes an epoch to be unfinished.
        """
        self._position = {name: int(state_dict[name]) for name in ("epoch", "position")}

    def train_dataloader(self) -> ResumableLoader:
        """Return the shuffled batches of the training split."""
        loader = self._training_loader()
        if self._position is not None:
            loader.load_state_dict(self._position)
        return loader

    def _training_loader(self) -> ResumableLoader:
        if self._repeated is not None:
            return self.first_batch(*self._repeated)
        loader = self.loader("train", shuffle=True)
        if self.trainer is not None:  # which may end an epoch before the data does
            limit = self.trainer.limit_train_batches
            loader.limit = int(limit * len(loader)) if isinstance(limit, float) else limit
        return loader

    def val_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """Return the validation split in order."""
        if self._repeated is not None:
            return self.first_batch(1, self._repeated[1])
        return self.loader("val") if "val" in self.prepared.splits else []

    def test_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """Return the test split in order."""
        return self.loader("test") if "test" in self.prepared.splits else []

    def loader(self, split: str, *, shuffle: bool = False) -> ResumableLoader:
        """Return a loader over one split for the process that asks."""
        return BatchLoader(self.resident(split), self.batch_size, shuffle=shuffle, seed=self.seed, shard=self.shard())

    def repeat_first_batch(self, times: int, rows: int) -> None:
        """Have an epoch of training be its first batch, cut to ``rows``, so many times, and validation be that once."""
        self._repeated = times, rows

    def first_batch(self, times: int, rows: int) -> RepeatedBatch:
        """Return the first ``rows`` of the first batch of training, again and again."""
        batch = next(iter(self.loader("train", shuffle=True)))
        lengths, reset = (None if part is None else part[:rows] for part in (batch.lengths, batch.reset))
        return RepeatedBatch(Batch(batch.inputs[:rows], batch.targets[:rows], lengths, reset), times)

    def resident(self, split: str) -> Samples:
        """Return the samples of a split, on the accelerator where they fit."""
        samples = self.prepared.splits[split]
        return samples.to(self.device()) if samples.nbytes() <= RESIDENT_BYTES else samples

    def device(self) -> torch.device:
        """Return the device of the attached trainer, else the CPU."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def shard(self) -> Shard:
        """Return which part of each batch this process works on."""
        return Shard() if self.trainer is None else Shard(self.trainer.global_rank, self.trainer.world_size)


def check_same(found: DataSpec, wanted: DataSpec) -> None:
    """Reject data that a model cannot read.

    Raises:
        RequestError: a field of its specification is not that of the model's; the first is named.
    """
    for field in fields(DataSpec):
        one, other = (getattr(spec, field.name) for spec in (found, wanted))
        if one != other:
            raise RequestError(
                f"the model cannot be scored on this data: its {field.name} is {one!r}, that of the model {other!r}"
            )
