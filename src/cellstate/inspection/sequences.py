"""The sequences to inspect a network on: from a split of its own data or from a file, as one batch."""

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

MEMORY_STEPS = 16384  # total steps that memory is measured on
MEMORY_ROWS = 1024  # and at most this many sequences: more would hardly narrow the interval
TEXT_MEMORY_STEPS = 8192  # for text, whose models are larger
TEXT_STEPS = 128  # characters of a piece of text
# Fewest independent sequences for a bootstrap interval. The readout tests on half of them: with 8, a nominal 95 %
# interval covers the mean in 89 % of cases, with 4 in 81 % (Student's t).
FEWEST = 16
RUN = 16  # consecutive characters that count as a repetition when they occur twice: more than a word or two
SPLITS = {"val": "validation", "train": "training", "test": "test"}


@dataclass(frozen=True)
class Sequences:
    """Sequences to inspect a network on.

    The first ``count`` rows of ``batch`` are inspected; memory is measured on all rows.
    """

    batch: Batch
    count: int
    source: str  # description of their origin
    keys: tuple[str, ...]  # name of each
    own_answers: bool = False  # whether the targets are the model's own predictions, for lack of others
    samples: Samples | None = None  # of their split
    text: Tensor | None = None  # (N,) tokens of the text that they are pieces of
    starts: tuple[int, ...] = ()  # where each begins in the text
    apart: tuple[int, ...] | None = None  # rows that do not repeat each other; None: all were drawn independently
    unknown: str = ""  # symbols that the model does not know, in words

    @property
    def inspected(self) -> Batch:
        """The first ``count`` sequences."""
        return rows_of(self.batch, self.count)

    @property
    def independent(self) -> int:
        """Number of independent sequences."""
        return len(self.batch.inputs) if self.apart is None else len(self.apart)

    @property
    def alone(self) -> Sequences:
        """The independent sequences only."""
        if self.apart is None or len(self.apart) == len(self.batch.inputs):
            return self
        rows = list(self.apart)
        starts = tuple(self.starts[row] for row in rows)
        batch = Batch(self.batch.inputs[rows], self.batch.targets[rows])  # pieces of a text have no padding
        keys = tuple(self.keys[row] for row in rows if row < len(self.keys))
        return replace(self, batch=batch, count=len(rows), keys=keys, starts=starts, apart=None)


def rows_of(batch: Batch, count: int) -> Batch:
    """Return the first rows of a batch, cut to the longest of them."""
    lengths = None if batch.lengths is None else batch.lengths[:count]
    width = batch.inputs.shape[1] if lengths is None else int(lengths.max())
    stepwise = batch.targets.ndim == 2 and batch.targets.shape == batch.inputs.shape[:2] and lengths is not None
    targets = batch.targets[:count, :width] if stepwise else batch.targets[:count]
    return Batch(batch.inputs[:count, :width], targets, lengths)


def of_split(data: SequenceData, split: str, count: int, steps: int | None, seed: int) -> Sequences:
    """Return sequences of a split: a random sample, or evenly spaced pieces of a text."""
    if split not in SPLITS:
        raise RequestError(f"split={split}: unknown split; choose one of {', '.join(SPLITS)}")
    if split not in data.prepared.splits:
        raise RequestError(
            f"split={split}: this data has no {split} split; choose one of {', '.join(data.prepared.splits)}"
        )
    samples = data.prepared.splits[split]
    named = f"the {SPLITS[split]} split"
    if isinstance(samples, TextSamples):
        return pieces(samples.tokens, count, steps, named, samples=samples)
    reject_steps(steps)
    width = samples.batch(torch.zeros(1, dtype=torch.long)).inputs.shape[1]
    wanted = min(len(samples), max(count, min(MEMORY_ROWS, MEMORY_STEPS // width)))
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))[:wanted]
    batch = samples.batch(order)
    if batch.lengths is not None:
        batch = rows_of(batch, wanted)  # without steps that are padding in all rows
    keys = tuple(f"sample {number:,} of {named}" for number in order.tolist())
    shown = min(count, wanted)
    source = f"{shown:,} sequence{'s' if shown > 1 else ''} of {named}, drawn with seed {seed}"
    return Sequences(batch._replace(reset=None), shown, source, keys, samples=samples)


def of_file(model: SequenceModel, data: SequenceData, path: str, count: int, steps: int | None) -> Sequences:
    """Return the sequences of a file.

    Args:
        model: the model that reads them.
        data: its training data, which is not loaded; defines the file format.
        path: of the file, in the format of the training file, as for ``cellstate predict``, or a text.
        count: number of sequences to inspect.
        steps: characters of a piece of text; None: 128, or a quarter of a shorter text.

    Raises:
        RequestError: the file cannot be read, or has symbols that the model does not know.
    """
    existing_file(path, key="input")
    name, inspector = Path(path).name, model.inspector
    if inspector.reads_text:
        text = inspector.read_text(path)
        return replace(pieces(text.tokens, count, steps, name), unknown=text.unknown)
    reject_steps(steps)
    with evaluating(model), torch.no_grad():
        found = inspector.read_sequences(data, path, MEMORY_ROWS)
    shown = min(count, len(found.batch.inputs))
    source = f"{shown:,} sequence{'s' if shown > 1 else ''} of {name}"
    return Sequences(found.batch, shown, source, found.keys, own_answers=found.own_answers)


def reject_steps(steps: int | None) -> None:
    """Raise RequestError if ``steps`` is given for sequences that are not text."""
    if steps is not None:
        raise RequestError("steps: applies only to text, which is cut into pieces; remove it")


def pieces(tokens: Tensor, count: int, steps: int | None, named: str, *, samples: Samples | None = None) -> Sequences:
    """Return evenly spaced pieces of a text without overlap, each read from the initial state.

    Args:
        tokens: the text, ``(N,)``.
        count: number of pieces to inspect; fewer if the text is too short.
        steps: characters of each; None: 128, or a quarter of a shorter text.
        named: name of the text.
        samples: of its split.
    """
    symbols = len(tokens) - 1  # the last is only a target
    width = min(TEXT_STEPS, max(1, symbols // 4)) if steps is None else steps
    fitting = symbols // width
    if fitting < 1:
        raise RequestError(
            f"{named} has {len(tokens):,} character{'' if len(tokens) == 1 else 's'}, too few for pieces of {width}"
            + (f"; set steps={max(1, symbols // 4)}" if symbols > 0 else "")
        )
    wanted = min(fitting, max(count, min(MEMORY_ROWS, TEXT_MEMORY_STEPS // width)))
    places = [number * (symbols - width) // max(wanted - 1, 1) for number in range(wanted)]
    # The inspected pieces are spread evenly over those that memory is measured on.
    shown = min(count, wanted)
    first = [number * (wanted - 1) // max(shown - 1, 1) for number in range(shown)]
    starts = [places[number] for number in [*first, *sorted(set(range(wanted)) - set(first))]]
    where = torch.tensor(starts).unsqueeze(1) + torch.arange(width + 1)
    rows = tokens[where].long()
    batch = Batch(rows[:, :-1], rows[:, 1:])
    keys = tuple(f"characters {start + 1:,} to {start + width:,} of {named}" for start in starts)
    source = f"{shown:,} piece{'s' if shown > 1 else ''} of {width} character{'s' if width > 1 else ''} of {named}"
    return Sequences(
        batch, shown, f"{source}, evenly spaced" if shown > 1 else source, keys, samples=samples, text=tokens,
        starts=tuple(starts), apart=apart(tokens, starts, width),
    )  # fmt: skip


def apart(tokens: Tensor, starts: list[int], width: int) -> tuple[int, ...]:
    """Return the pieces of a text that do not repeat earlier ones.

    In a repetitive text, a readout would be tested on the pieces that it was fitted on. When a run of ``RUN``
    characters occurs again, its characters count as those of the first occurrence; a piece is dropped if more than a
    quarter of its characters occur in earlier ones.
    """
    same: dict[int, int] = {}  # place of a character -> of the one that it repeats
    first: dict[tuple[int, ...], int] = {}  # run -> place of its first occurrence
    for start in sorted(starts):
        around = max(0, start - RUN + 1)
        near = tokens[around : start + width + RUN - 1].tolist()
        for at in range(len(near) - RUN + 1):
            here, there = around + at, first.setdefault(tuple(near[at : at + RUN]), around + at)
            if there != here:
                same.update((here + step, same.get(there + step, there + step)) for step in range(RUN))
    seen: set[int] = set()
    found = []
    for number, start in enumerate(starts):
        places = [same.get(place, place) for place in range(start, start + width)]
        if 4 * sum(place in seen for place in places) <= width:
            seen.update(places)
            found.append(number)
    return tuple(found)


def last_alone(model: SequenceModel, batch: Batch) -> Batch:
    """Return the batch with only the target of each row's last step, for models with one at every step.

    The gradient at a step is then that of one loss at the end, without the losses of the steps in between.
    """
    if not model.inspector.answers_every_step:
        return batch
    answered = batch.targets != IGNORED
    steps = torch.arange(batch.targets.shape[1])
    last = torch.where(answered, steps, -1).amax(1, keepdim=True)
    return batch._replace(targets=batch.targets.masked_fill(steps != last, IGNORED))
