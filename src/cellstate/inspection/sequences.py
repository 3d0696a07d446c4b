"""What a network is looked at with: sequences of a split of its own data, as one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
# Independent sequences from which on an interval by a bootstrap over them means something. The readout tests on half:
# of 8, an interval of 95 % by their spread holds the mean in 89 % of cases, of 4 in 81 % (Student's t).
FEWEST = 16
SHORT_RUN, LONG_RUN = 10, 16  # characters in a row that short pieces share where one repeats the other
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
    apart: tuple[int, ...] | None = None  # which rows repeat nothing of one another; None: each was drawn for itself
    unknown: str = ""  # symbols of it that the model does not know, in words

    @property
    def looked_at(self) -> Batch:
        """Return the first ``count`` sequences."""
        return rows_of(self.batch, self.count)

    @property
    def independent(self) -> int:
        """How many sequences have nothing to do with one another."""
        return len(self.batch.inputs) if self.apart is None else len(self.apart)

    @property
    def alone(self) -> Sequences:
        """Return the same with no others than these."""
        if self.apart is None or len(self.apart) == len(self.batch.inputs):
            return self
        rows = list(self.apart)
        starts = tuple(self.starts[row] for row in rows)
        batch = Batch(self.batch.inputs[rows], self.batch.targets[rows])  # pieces of a text: none is padded
        keys = tuple(self.keys[row] for row in rows if row < len(self.keys))
        return replace(self, batch=batch, count=len(rows), keys=keys, starts=starts, apart=None)


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
    """Return pieces of a text, evenly spaced, each read with an empty memory. No two overlap.

    Args:
        tokens: the text, ``(N,)``.
        count: how many to look at; there are as many as the text holds, if it holds fewer.
        steps: characters of each; None: 128, or a quarter of a shorter text.
        named: what to call the text.
        split: which it is.
        samples: of that split.

    Raises:
        RequestError: the text has no such piece, with a character to follow it.
    """
    symbols = len(tokens) - 1  # the last is there to be predicted
    width = min(TEXT_STEPS, max(1, symbols // 4)) if steps is None else steps
    fitting = symbols // width
    if fitting < 1:
        raise RequestError(
            f"{named} has {len(tokens):,} character{'' if len(tokens) == 1 else 's'}, too few for pieces of {width}"
            + (f"; set steps={max(1, symbols // 4)}" if symbols > 0 else "")
        )
    wanted = min(fitting, max(count, min(MEMORY_ROWS, TEXT_MEMORY_STEPS // width)))
    places = [number * (symbols - width) // max(wanted - 1, 1) for number in range(wanted)]
    # Those that are looked at lie evenly among those on which the memory is measured.
    looked = min(count, wanted)
    first = [number * (wanted - 1) // max(looked - 1, 1) for number in range(looked)]
    starts = [places[number] for number in [*first, *sorted(set(range(wanted)) - set(first))]]
    where = torch.tensor(starts).unsqueeze(1) + torch.arange(width + 1)
    rows = tokens[where].long()
    batch = Batch(rows[:, :-1], rows[:, 1:])
    keys = tuple(f"characters {start + 1:,} to {start + width:,} of {named}" for start in starts)
    said = f"{looked:,} piece{'s' if looked > 1 else ''} of {width} character{'s' if width > 1 else ''} of {named}"
    return Sequences(
        batch, looked, f"{said}, evenly spaced" if looked > 1 else said, keys, split=split, samples=samples,
        text=tokens, starts=tuple(starts), apart=apart(batch.inputs),
    )  # fmt: skip


def apart(rows: Tensor) -> tuple[int, ...]:
    """Return which pieces of a text ``(B, T)`` repeat nothing of one that is among them, the first of all first.

    A piece repeats another where they share a run of a quarter of their length, short ones a run of 16 characters or
    half their length, 10 at least. A text that says one thing again and again has many pieces, of which those
    that are fitted on and those that are tested on would be the same.
    """
    width = rows.shape[1]
    run = max(min(width, SHORT_RUN), min(width // 2, LONG_RUN), width // 4)
    seen: set[tuple[int, ...]] = set()
    found = []
    for number, row in enumerate(rows.tolist()):
        runs = {tuple(row[start : start + run]) for start in range(width - run + 1)}
        if seen.isdisjoint(runs):
            seen |= runs
            found.append(number)
    return tuple(found)


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
