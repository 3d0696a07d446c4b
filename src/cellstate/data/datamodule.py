"""The base datamodule of all tasks: splits, loaders, fingerprint, and reference scores."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, NoReturn

import lightning as L
import numpy as np
import torch

from cellstate.config.types import PositiveInt
from cellstate.data.batch import Batch, DataSpec, digest_text
from cellstate.data.loader import BatchLoader, RepeatedBatch, ResumableLoader, Shard
from cellstate.data.samples import Samples
from cellstate.errors import RequestError

Scores = dict[str, float]

# Splits up to this size are copied to the accelerator once, so that a batch is a gather without any transfer.
RESIDENT_BYTES = 2**30


@dataclass(frozen=True)
class Prepared:
    """The data as read: the specification, and the samples of each existing split."""

    spec: DataSpec
    splits: Mapping[str, Samples]
    facts: tuple[str, ...] = ()  # on the data for the user, a line each


class OpenSplits(dict[str, Samples]):
    """The readable splits if the test split is locked; accessing the test split raises an error that says why."""

    def __missing__(self, split: str) -> NoReturn:
        if split != "test":
            raise KeyError(split)
        raise RequestError(
            "the test split is locked (test=false) and cannot be read in this run; to score the selected model, "
            "use cellstate evaluate checkpoint=FILE"
        )


class SequenceData(L.LightningDataModule):
    """A source of sequences with up to three splits, ``train``, ``val`` and ``test``.

    Subclasses implement ``prepare`` and, if known, ``optimum``, ``optimum_realised`` and ``references``;
    ``split_rule`` to describe how the data was split; and ``forget_test`` if they store parts of the test split
    outside ``prepared``. ``batch_size`` is the global batch size over all processes.

    Attributes:
        fitted: a specification whose scaler, vocabulary and classes replace those of the training split, for a model
            that was trained on other data; None fits them. Set it before the data is read.
        test_locked: whether the test split can no longer be read.
    """

    gives: ClassVar[str | None] = None
    """The field of ``spec`` that says what the data is for, as ``needs`` of a model; None: known once it is read."""

    def __init__(self, *, batch_size: PositiveInt = 64, seed: int = 0) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed
        self.fitted: DataSpec | None = None
        self.test_locked = False
        self._repeated: tuple[int, int] | None = None  # batches per epoch, rows of the batch
        self._position: dict[str, int] | None = None  # of the training loader, if a run is resumed

    def __str__(self) -> str:
        """Return the class and, once read, facts on the data; Lightning's own implementation expects tuples."""
        read: Prepared | None = self.__dict__.get("prepared")
        return "\n  ".join((type(self).__name__, *(read.facts if read else ("not read yet",))))

    __repr__ = __str__

    @abstractmethod
    def prepare(self) -> Prepared:
        """Read or generate the data.

        Raises:
            RequestError: a file, column or parameter is invalid.
        """

    @cached_property
    def prepared(self) -> Prepared:
        """The data, read on first access."""
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
        """The split whose scores are reported: ``test``, or ``val`` if there is no test split."""
        return "test" if "test" in self.prepared.splits else "val"

    @property
    def repeats_batch(self) -> bool:
        """Whether training and validation repeat the first training batch (``debug=overfit``)."""
        return self._repeated is not None

    @property
    def validates(self) -> bool:
        """Whether there is something to validate on."""
        return "val" in self.prepared.splits or self.repeats_batch

    def optimum(self) -> Scores:
        """Return metric -> expected score of the best possible predictor, if known."""
        return {}

    def optimum_realised(self) -> Scores:
        """Return metric -> best possible score on the samples of the reported split, if their noise is known."""
        return {}

    def with_scaled(self, scores: Scores) -> Scores:
        """Add ``mae_scaled`` and ``mse_scaled`` to ``mae`` and ``mse`` that are the same for every target."""
        std = np.asarray(self.spec.std)
        mae, mse = float(np.mean(scores["mae"] / std)), float(np.mean(scores["mse"] / std**2))
        return {**scores, "mae_scaled": mae, "mse_scaled": mse}

    def panel_scores(self, split: str, scores: Any) -> Scores:  # noqa: ARG002
        """Return metric -> value for metrics that need more than forecast and truth, such as the series of each sample.

        They are added to those that the model computes, and replace those of the same name. Called on the first
        process only.

        Args:
            split: ``val`` or ``test``.
            scores: those of the model, with the predictions of all processes in the order of the split; fewer than the
                split has are its first ones.
        """
        return {}

    def references(self) -> dict[str, Scores]:
        """Return metric -> name of a baseline -> its score on the reported split."""
        return {}

    def reference_table(self) -> dict[str, Scores]:
        """Return metric -> name -> value: optimum, realised optimum and references, as in ``metrics.json``."""
        table: dict[str, Scores] = {}
        for name, scores in (("optimum", self.optimum()), ("optimum_realised", self.optimum_realised())):
            for metric, value in scores.items():
                table.setdefault(metric, {})[name] = value
        for metric, values in self.references().items():
            table.setdefault(metric, {}).update(values)
        return table

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the content of all splits and the specification, hexadecimal.

        The specification is included because splits contain token indices and z-scores: a different vocabulary or
        scaler is a different data set.
        """
        digest = hashlib.sha256(digest_text(self.spec).encode())
        for split in sorted(self.prepared.splits):
            digest.update(split.encode())
            self.prepared.splits[split].update_digest(digest)
        return digest.hexdigest()

    @cached_property
    def split_record(self) -> dict[str, Any]:
        """The size of each split and the rule of splitting, as plain values."""
        samples = {name: len(part) for name, part in self.prepared.splits.items()}
        return {"samples": samples, "seed": self.seed, **self.split_rule()}

    def split_rule(self) -> dict[str, Any]:
        """Return how the data was split (shares, borders, folds), as plain values."""
        return {}

    def lock_test(self) -> None:
        """Make the test split unreadable from here on: its samples are released, and ``val`` is the reported split.

        Fingerprint and sizes are computed first, so that the data can be identified later. No effect without a test
        split.
        """
        if "test" not in self.prepared.splits:
            return
        _ = self.fingerprint, self.split_record
        splits = OpenSplits({name: part for name, part in self.prepared.splits.items() if name != "test"})
        facts = (*self.prepared.facts, "the test split is locked (test=false) and not read")
        self.prepared, self.test_locked = replace(self.prepared, splits=splits, facts=facts), True
        self.forget_test()

    def forget_test(self) -> None:
        """Release any parts of the test split stored outside ``prepared``."""

    # ------------------------------------------------------------------ Lightning hooks

    def setup(self, stage: str | None = None) -> None:
        """Read the data unless already read; training starts at its first batch."""
        _ = self.prepared
        if stage == "fit":
            self._position = None

    def state_dict(self) -> dict[str, int]:
        """Return the position of the training loader."""
        loader = None if self.trainer is None else self.trainer.train_dataloader
        return loader.state_dict() if isinstance(loader, ResumableLoader) else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Set the position at which training starts.

        Lightning itself restores the loader only if it considers the epoch unfinished.
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
        if self.trainer is not None:  # which may limit the batches per epoch
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
        """Return a loader over one split for the current process."""
        return BatchLoader(self.resident(split), self.batch_size, shuffle=shuffle, seed=self.seed, shard=self.shard())

    def repeat_first_batch(self, times: int, rows: int) -> None:
        """Train on the first batch only, cut to ``rows``, ``times`` per epoch, and validate on it once."""
        self._repeated = times, rows

    def first_batch(self, times: int, rows: int) -> RepeatedBatch:
        """Return a loader that repeats the first ``rows`` of the first training batch."""
        batch = next(iter(self.loader("train", shuffle=True)))
        lengths, reset = (None if part is None else part[:rows] for part in (batch.lengths, batch.reset))
        return RepeatedBatch(Batch(batch.inputs[:rows], batch.targets[:rows], lengths, reset), times)

    def resident(self, split: str) -> Samples:
        """Return the samples of a split, on the accelerator if they are small enough."""
        samples = self.prepared.splits[split]
        return samples.to(self.device()) if samples.nbytes() <= RESIDENT_BYTES else samples

    def device(self) -> torch.device:
        """Return the device of the attached trainer, else the CPU."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def shard(self) -> Shard:
        """Return the part of each batch that this process handles."""
        return Shard() if self.trainer is None else Shard(self.trainer.global_rank, self.trainer.world_size)


def check_same(found: DataSpec, wanted: DataSpec) -> None:
    """Reject data that does not match a model.

    Raises:
        RequestError: a field of its specification differs from the model's; the first is named.
    """
    for field in fields(DataSpec):
        one, other = (getattr(spec, field.name) for spec in (found, wanted))
        if one != other:
            raise RequestError(
                f"the model cannot be scored on this data: {field.name} is {one!r}, but {other!r} for the model"
            )
