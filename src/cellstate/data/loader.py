"""Loaders: batches by indexing, in an order that is a pure function of seed and epoch, with a resumable position.

Lightning saves ``state_dict()`` of any loader that has one and restores it on resume, so that a run continues with
exactly the batch that would have come next.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cellstate.data.batch import Batch
from cellstate.data.samples import Samples
from cellstate.errors import RequestError
from cellstate.metrics.tokens import IGNORED


@dataclass(frozen=True)
class Shard:
    """The part of every batch that one of ``world_size`` processes handles."""

    rank: int = 0
    world_size: int = 1


def check_shared(rows: int, shard: Shard) -> None:
    """Reject a batch that leaves some process without rows.

    Raises:
        RequestError: there are fewer rows than processes.
    """
    if rows < shard.world_size:
        raise RequestError(
            f"a batch of {rows} cannot be divided among {shard.world_size} processes; "
            f"set data.batch_size (in evaluation data.eval_streams) to {shard.world_size} or more, or use fewer devices"
        )


def epoch_seed(seed: int, epoch: int) -> int:
    """Return 63 bits determined by seed and epoch (SHA-256, so that nearby seeds are unrelated)."""
    digest = hashlib.sha256(f"order/{seed}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


class ResumableLoader(ABC):
    """An endless sequence of epochs with a position.

    ``iter(loader)`` starts the next epoch, or resumes within one after ``load_state_dict``. The position only changes
    when a batch is requested: calling ``iter`` twice in a row, as Lightning does, equals calling it once.

    Attributes:
        limit: most batches per epoch; None for all.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.limit: int | None = None
        self._epoch = -1  # the epoch of the newest batch; -1 before the first
        self._position = 0  # batches of it returned so far
        self._resumes = False  # whether the next batch is at a loaded position

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of batches per epoch."""

    @abstractmethod
    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from number ``first`` on."""

    def __iter__(self) -> Iterator[Batch]:
        length = len(self) if self.limit is None else min(self.limit, len(self))
        if not self._resumes or self._epoch < 0 or self._position >= length:
            self._epoch, self._position = self._epoch + 1, 0
        self._resumes = False
        for batch in self._batches(self._epoch, self._position):
            self._position += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the position: the epoch, and the number of its batches returned so far."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore a position; the next ``iter`` continues from there."""
        self._epoch, self._position, self._resumes = state["epoch"], state["position"], True


class BatchLoader(ResumableLoader):
    """Batches of independent samples.

    ``batch_size`` is the global batch size seen by the optimiser: in training each process takes every
    ``world_size``-th row of it, and a last batch with fewer rows than processes is dropped. In evaluation
    (``shuffle=False``) each process takes one contiguous part of the samples, so that the parts concatenated in order
    of rank are the split; all have equally many batches, of nearly equal sizes. With ``renew`` every epoch after the
    first has new samples, as many as the first.

    Raises:
        RequestError: a training batch, or the split, has fewer rows than there are processes.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        shard: Shard | None = None,
        renew: Callable[[int], Samples] | None = None,
    ) -> None:
        super().__init__(seed)
        self.samples, self.batch_size, self.shuffle, self.renew = samples, batch_size, shuffle, renew
        self.shard = shard or Shard()
        if shuffle:
            check_shared(min(batch_size, len(samples)), self.shard)
        elif len(samples) < self.shard.world_size:
            raise RequestError(
                f"a split of {len(samples)} samples cannot be divided among {self.shard.world_size} processes; "
                "use fewer devices"
            )

    def __len__(self) -> int:
        if not self.shuffle:
            return -(-(len(self.samples) // self.shard.world_size) // self.batch_size)
        whole, rest = divmod(len(self.samples), self.batch_size)
        return whole + (rest >= self.shard.world_size)  # drops a last batch with too few rows

    def _own_part(self) -> range:
        count, shard = len(self.samples), self.shard
        return range(shard.rank * count // shard.world_size, (shard.rank + 1) * count // shard.world_size)

    def order(self, epoch: int) -> Tensor:
        """Return the sample indices of a training epoch, ``(N,)``."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, epoch))
        return torch.randperm(len(self.samples), generator=generator)

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        samples = self.samples if self.renew is None or epoch == 0 else self.renew(epoch)
        for indices in self._training_rows(epoch, first) if self.shuffle else self._rows_in_order(first):
            yield samples.batch(indices)

    def _training_rows(self, epoch: int, first: int) -> Iterator[Tensor]:
        order = self.order(epoch)
        for start in range(first * self.batch_size, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size][self.shard.rank :: self.shard.world_size]

    def _rows_in_order(self, first: int) -> Iterator[Tensor]:
        part, count = self._own_part(), len(self)
        for number in range(first, count):
            if self.shard.world_size == 1:
                start, stop = number * self.batch_size, min((number + 1) * self.batch_size, len(part))
            else:  # parts differ by a sample, but all processes need equally many batches
                start, stop = number * len(part) // count, (number + 1) * len(part) // count
            yield torch.arange(part.start + start, part.start + stop)


class RepeatedBatch(ResumableLoader):
    """The same batch, ``times`` times per epoch."""

    def __init__(self, batch: Batch, times: int) -> None:
        super().__init__()
        self.batch, self.times = batch, times

    def __len__(self) -> int:
        return self.times

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:  # noqa: ARG002
        for _ in range(first, self.times):
            yield self.batch


class StreamLoader(ResumableLoader):
    """Batches for truncated backpropagation through time: row b of a batch continues row b of the previous one.

    The tokens ``(N,)`` are divided into ``streams`` equal parts that are read in parallel, ``steps`` tokens at a time
    (Williams & Peng 1990). The first batch of an epoch has ``reset`` set. Every token but the first is a target
    exactly once; streams at the end are padded with targets of ``IGNORED``. With ``jitter`` each epoch starts at a
    different offset, so that batch boundaries do not always fall on the same tokens (each epoch then skips fewer than
    ``steps`` tokens per stream, before the offset and after the last batch). The tokens may have any integer type and
    be memory-mapped; only those of one batch are copied at a time.

    Raises:
        RequestError: there are fewer streams than processes.
    """

    def __init__(
        self,
        tokens: Tensor,
        streams: int,
        steps: int,
        *,
        jitter: bool = False,
        seed: int = 0,
        shard: Shard | None = None,
    ) -> None:
        super().__init__(seed)
        self.tokens, self.steps, self.jitter = tokens, steps, jitter
        shard = shard or Shard()
        check_shared(streams, shard)
        self.width = -(-(len(tokens) - 1) // streams)  # targets per stream
        self.filled = len(tokens) - 1 - (streams - 1) * self.width  # targets of the last stream
        self.rows = len(range(shard.rank, streams, shard.world_size))  # streams of this process
        self._first, self._gap = shard.rank * self.width, shard.world_size * self.width  # their starts

    def __len__(self) -> int:
        spare = self.steps - 1 if self._jitters else 0  # the largest offset: all epochs have equally many batches
        return -(-(self.width - spare) // self.steps)

    @property
    def _jitters(self) -> bool:
        return self.jitter and self.width >= 2 * self.steps

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        offset = epoch_seed(self.seed, epoch) % self.steps if self._jitters else 0
        for number in range(first, len(self)):
            start = offset + number * self.steps
            inputs, targets = self._span(start, min(start + self.steps, self.width))
            reset = torch.full((self.rows,), number == 0, device=self.tokens.device)
            yield Batch(inputs, targets, reset=reset)

    def _span(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return the steps from ``start`` to ``stop`` of all streams of this process, ``(rows, stop - start)`` each."""
        if stop <= self.filled:
            spans = self.tokens[self._first + start :].unfold(0, stop - start + 1, self._gap)[: self.rows].long()
            return spans[:, :-1], spans[:, 1:]
        device, last = self.tokens.device, len(self.tokens) - 1
        begins = self._first + self._gap * torch.arange(self.rows, device=device)
        places = begins.unsqueeze(1) + torch.arange(start, stop, device=device)
        missing = places >= last  # no next token
        inputs = self.tokens[places.clamp(max=last)].long().masked_fill(missing, 0)
        return inputs, self.tokens[(places + 1).clamp(max=last)].long().masked_fill(missing, IGNORED)
