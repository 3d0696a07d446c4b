"""What a network is looked at with: sequences of a split of its own data, as one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cellstate.data import SequenceData
from cellstate.data.batch import Batch
from cellstate.data.files.text import TextSamples
from cellstate.data.samples import Samples
from cellstate.errors import RequestError
from cellstate.metrics.tokens import IGNORED
from cellstate.model import LanguageModel, NextState

MEMORY_STEPS = 16384  # steps that the memory is measured on, of as many sequences as hold them ...
MEMORY_ROWS = 1024  # but no more than so many: further ones would narrow the interval by little
TEXT_MEMORY_STEPS = 8192  # of a text, whose models are larger
TEXT_STEPS = 128  # characters of a piece of text
SPOKEN = {"val": "validation", "train": "training", "test": "test"}


@dataclass(frozen=True)
class Sequences:
    """Sequences to look at a network with.

    ``batch`` has at least those that are looked at, the first ``count``; on all of them the memory is measured.
    """

    batch: Batch
    count: int
    source: str  # where they come from, in words
    keys: tuple[str, ...]  # what to call each
    own_answers: bool = False  # whether the targets are what the model itself says, as nobody else does
    split: str | None = None  # which split they are of
    samples: Samples | None = None  # of that split
    text: Tensor | None = None  # (N,) tokens of the text that they are pieces of
    starts: tuple[int, ...] = ()  # where in it each begins

    @property
    def looked_at(self) -> Batch:
        """Return the first ``count`` sequences."""
        return rows_of(self.batch, self.count)


def rows_of(batch: Batch, count: int) -> Batch:
    """Return the first rows of a batch, as wide as the longest of them."""
    lengths = None if batch.lengths is None else batch.lengths[:count]
    width = batch.inputs.shape[1] if lengths is None else int(lengths.max())
    stepwise = batch.targets.ndim == 2 and batch.targets.shape == batch.inputs.shape[:2] and lengths is not None
    targets = batch.targets[:count, :width] if stepwise else batch.targets[:count]
    return Batch(batch.inputs[:count, :width], targets, lengths)


def of_split(data: SequenceData, split: str, count: int, steps: int | None, seed: int) -> Sequences:
    """Return sequences of a split: those drawn by the seed, or pieces of a text, evenly spaced.

    Raises:
        RequestError: there is no such split, or it is too short.
    """
    if split not in SPOKEN:
        raise RequestError(f"split={split}: there is no such split; there are: {', '.join(SPOKEN)}")
    if split not in data.prepared.splits:
        raise RequestError(
            f"split={split}: this data has no {split} split; there are: {', '.join(data.prepared.splits)}"
        )
    samples = data.prepared.splits[split]
    named = f"the {SPOKEN[split]} split"
    if isinstance(samples, TextSamples):
        return pieces(samples.tokens, count, steps, named, split=split, samples=samples)
    if steps is not None:
        raise RequestError("steps: cuts a text into pieces; these sequences have their own lengths, so leave it out")
    width = samples.batch(torch.zeros(1, dtype=torch.long)).inputs.shape[1]
    wanted = min(len(samples), max(count, min(MEMORY_ROWS, MEMORY_STEPS // width)))
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))[:wanted]
    batch = samples.batch(order)
    keys = tuple(f"sample {number:,} of {named}" for number in order.tolist())
    shown = min(count, wanted)
    source = f"{shown:,} sequence{'s' if shown > 1 else ''} of {named}, drawn by seed {seed}"
    return Sequences(trimmed(batch._replace(reset=None)), shown, source, keys, split=split, samples=samples)


def pieces(
    tokens: Tensor, count: int, steps: int | None, named: str, *, split: str | None = None,
    samples: Samples | None = None,
) -> Sequences:  # fmt: skip
    """Return pieces of a text, evenly spaced, each read with an empty memory.

    Raises:
        RequestError: the text is too short for two pieces.
    """
    width = TEXT_STEPS if steps is None else steps
    spare = len(tokens) - 1 - width
    if spare < 1:
        raise RequestError(
            f"{named} has {len(tokens):,} characters, too few for pieces of {width}; "
            f"set steps={max(1, len(tokens) // 4)}"
        )
    wanted = min(spare, max(count, min(MEMORY_ROWS, TEXT_MEMORY_STEPS // width)))
    # Those that are looked at lie evenly in the text, and so do those that join them for the memory.
    first = torch.linspace(0, spare, min(count, wanted)).long()
    others = torch.linspace(0, spare, wanted + 2)[1:-1].long()[: wanted - len(first)]
    starts = torch.cat([first, others])
    where = starts.unsqueeze(1) + torch.arange(width + 1)
    rows = tokens[where].long()
    batch = Batch(rows[:, :-1], rows[:, 1:])
    keys = tuple(f"characters {start + 1:,} to {start + width:,} of {named}" for start in starts.tolist())
    source = f"{len(first):,} pieces of {width} characters of {named}, evenly spaced"
    return Sequences(
        batch, len(first), source, keys, split=split, samples=samples, text=tokens, starts=tuple(starts.tolist())
    )


def trimmed(batch: Batch) -> Batch:
    """Return a batch without steps that are padding in all rows."""
    return batch if batch.lengths is None else rows_of(batch, len(batch.inputs))


def last_alone(model: Any, batch: Batch) -> Batch:
    """Return the batch with no target but that of each row's last step, of models that have one at every step.

    So the gradient at a step is that of one loss, at the end: what flows back, and not what each step brings anew.
    """
    if not isinstance(model, (LanguageModel, NextState)):
        return batch
    answered = batch.targets != IGNORED
    steps = torch.arange(batch.targets.shape[1])
    last = torch.where(answered, steps, -1).amax(1, keepdim=True)
    return batch._replace(targets=batch.targets.masked_fill(steps != last, IGNORED))
