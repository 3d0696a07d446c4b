"""What a network is inspected on: sequences of a split of its own data, or of a user's file, as one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cellstate.backbone import evaluating
from cellstate.data import SequenceData
from cellstate.data.batch import Batch
from cellstate.data.files.reading import existing_file
from cellstate.data.files.text import TextSamples
from cellstate.data.samples import Samples
from cellstate.errors import RequestError
from cellstate.metrics.tokens import IGNORED
from cellstate.model import SequenceModel

MEMORY_STEPS = 16384  # steps that the memory is measured on, of as many sequences as hold them ...
MEMORY_ROWS = 1024  # but no more than so many: further ones would narrow the interval by little
TEXT_MEMORY_STEPS = 8192  # of a text, whose models are larger
TEXT_STEPS = 128  # characters of a piece of text
# Independent sequences from which on an interval by a bootstrap over them means something. The readout tests on half:
# of 8, an interval of 95 % by their spread holds the mean in 89 % of cases, of 4 in 81 % (Student's t).
FEWEST = 16
RUN = 16  # characters in a row that stand in a text twice where it repeats itself: more than a word or two
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
    refuse_steps(steps)
    width = samples.batch(torch.zeros(1, dtype=torch.long)).inputs.shape[1]
    wanted = min(len(samples), max(count, min(MEMORY_ROWS, MEMORY_STEPS // width)))
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))[:wanted]
    batch = samples.batch(order)
    keys = tuple(f"sample {number:,} of {named}" for number in order.tolist())
    shown = min(count, wanted)
    source = f"{shown:,} sequence{'s' if shown > 1 else ''} of {named}, drawn by seed {seed}"
    return Sequences(trimmed(batch._replace(reset=None)), shown, source, keys, split=split, samples=samples)


def of_file(model: SequenceModel, data: SequenceData, path: str, count: int, steps: int | None) -> Sequences:
    """Return the sequences of a file.

    Args:
        model: which is to read them.
        data: as it was trained on, not read: it says how its files are read.
        path: of the file, in the form of the training file, as ``cellstate predict`` takes it, or a text.
        count: how many to look at.
        steps: characters of a piece of text; None: 128, or a quarter of a shorter text.

    Raises:
        RequestError: the file cannot be read, or holds what the model does not know.
    """
    existing_file(path, key="input")
    name, inspector = Path(path).name, model.inspector
    if inspector.reads_text:
        text = inspector.read_text(path)
        return replace(pieces(text.tokens, count, steps, name), unknown=text.unknown)
    refuse_steps(steps)
    with evaluating(model), torch.no_grad():
        found = inspector.read_sequences(data, path, MEMORY_ROWS)
    shown = min(count, len(found.batch.inputs))
    source = f"{shown:,} sequence{'s' if shown > 1 else ''} of {name}"
    return Sequences(found.batch, shown, source, found.keys, own_answers=found.own_answers)


def refuse_steps(steps: int | None) -> None:
    """Refuse to cut sequences that are no text (RequestError)."""
    if steps is not None:
        raise RequestError("steps: cuts a text into pieces; these sequences have their own lengths, so leave it out")


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
        text=tokens, starts=tuple(starts), apart=apart(tokens, starts, width),
    )  # fmt: skip


def apart(tokens: Tensor, starts: list[int], width: int) -> tuple[int, ...]:
    """Return which pieces of a text say something that none among them has said, the first of all first.

    A text that says one thing again and again has many pieces, of which those that a readout is fitted on and those
    that it is tested on would be the same. Where a run of ``RUN`` characters occurs a second time, its characters count
    as those of the first; a piece is left out of which more than a quarter are in others already.
    """
    same: dict[int, int] = {}  # place of a character -> of the one that it repeats
    first: dict[tuple[int, ...], int] = {}  # run -> where it occurs first
    for start in sorted(starts):
        around = max(0, start - RUN + 1)
        near = tokens[around : start + width + RUN - 1].tolist()
        for at in range(len(near) - RUN + 1):
            here, there = around + at, first.setdefault(tuple(near[at : at + RUN]), around + at)
            if there != here:
                same.update((here + step, same.get(there + step, there + step)) for step in range(RUN))
    said: set[int] = set()
    found = []
    for number, start in enumerate(starts):
        places = [same.get(place, place) for place in range(start, start + width)]
        if 4 * sum(place in said for place in places) <= width:
            said.update(places)
            found.append(number)
    return tuple(found)


def trimmed(batch: Batch) -> Batch:
    """Return a batch without steps that are padding in all rows."""
    return batch if batch.lengths is None else rows_of(batch, len(batch.inputs))


def last_alone(model: SequenceModel, batch: Batch) -> Batch:
    """Return the batch with no target but that of each row's last step, of models that have one at every step.

    So the gradient at a step is that of one loss, at the end: what flows back, and not what each step brings anew.
    """
    if not model.inspector.answers_every_step:
        return batch
    answered = batch.targets != IGNORED
    steps = torch.arange(batch.targets.shape[1])
    last = torch.where(answered, steps, -1).amax(1, keepdim=True)
    return batch._replace(targets=batch.targets.masked_fill(steps != last, IGNORED))
