"""Is a trigger followed by an action soon enough? Events of two steps each, among noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from cellstate.config.types import Length, PositiveInt
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.classification import GeneratedClassification
from cellstate.data.synthetic.generated import check_request
from cellstate.data.synthetic.randomness import CounterRandom, as_counters, row_blocks

FEATURES = 5
NOISE = 0.5  # its upper bound, well below the 1 of an event
TRIGGER = np.eye(FEATURES, dtype=np.float32)[[0, 1]]  # (2, 5)
ACTION = np.eye(FEATURES, dtype=np.float32)[[2, 3]]
EVENT = len(TRIGGER)  # steps of an event

POSITIVE = "trigger, then action in time"
HARD_NEGATIVES = ("trigger alone", "action alone", "action before trigger", "gap too long")
NOISE_ONLY = "noise only"
KINDS = (POSITIVE, *HARD_NEGATIVES, NOISE_ONLY)
WITH_TRIGGER = (POSITIVE, "trigger alone", "action before trigger", "gap too long")
WITH_ACTION = (POSITIVE, "action alone", "action before trigger", "gap too long")


def kinds_of(indices: ArrayLike | Sequence[int], *, distractors: bool = True) -> NDArray[np.int64]:
    """Return ``(N,)``: the index in KINDS of each sample, a function of the sample index i.

    Odd samples are positive; for even ones, ``i / 2 mod 4`` selects the hard negative. So an even number of samples is
    balanced exactly, and each hard negative is exactly an eighth of a multiple of eight.
    """
    counters = as_counters(indices).astype(np.int64)
    hard = 1 + counters // 2 % len(HARD_NEGATIVES)
    return np.where(counters % 2 == 1, 0, hard if distractors else KINDS.index(NOISE_ONLY))


def trigger_action_sequences(
    indices: ArrayLike | Sequence[int],
    *,
    seed: int,
    split: str,
    length: int = 30,
    max_gap: int = 5,
    distractors: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features ``(N, length, 5)`` and labels ``(N,)`` (1: trigger, then action in time) of samples of a split.

    Uniform noise in [0, 0.5], in which the two steps of an event are overwritten with TRIGGER or ACTION. The gap, the
    number of steps from the last step of the trigger to the first of the action (1: immediately), is drawn first; then
    the position of the first event, among those where both fit. All draws are uniform:

    - positives: gap from 1 to max_gap;
    - gap too long: gap from max_gap + 1 to the longest that fits, length - 3;
    - action before trigger: the gap as in positives, so that only the order differs;
    - trigger alone, action alone: any position.

    Without ``distractors``, negatives are pure noise. A sample is a pure function of its index and the keyword
    arguments; splits draw from independent streams, and noise makes all samples different.

    RequestError if the longest gap does not fit into the length.
    """
    _check_request(split, length, max_gap, distractors=distractors)
    counters = as_counters(indices)
    random = CounterRandom("trigger_action", seed, split, length)
    inputs = _noise(random.child("noise"), counters, length)
    kinds = kinds_of(counters, distractors=distractors)
    trigger, action = _places(random, counters, kinds, length, max_gap)
    for event, places, holders in ((TRIGGER, trigger, WITH_TRIGGER), (ACTION, action, WITH_ACTION)):
        rows = np.flatnonzero(np.isin(kinds, [KINDS.index(kind) for kind in holders]))
        inputs[rows[:, None], places[rows, None] + np.arange(EVENT)] = event
    return inputs, (kinds == 0).astype(np.int64)


def _noise(random: CounterRandom, counters: NDArray[np.uint64], length: int) -> NDArray[np.float32]:
    """Return ``(N, length, 5)`` uniform values in [0, 0.5], in blocks, to limit the double precision temporaries."""
    noise = np.empty((len(counters), length * FEATURES), np.float32)
    for rows in row_blocks(*noise.shape):
        noise[rows] = NOISE * random.uniform(counters[rows], length * FEATURES)
    return noise.reshape(len(counters), length, FEATURES)


def _places(
    random: CounterRandom, counters: NDArray[np.uint64], kinds: NDArray[np.int64], length: int, max_gap: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first steps of trigger and action, each ``(N,)``; arbitrary for an event that a kind lacks."""
    alone = np.isin(kinds, [KINDS.index("trigger alone"), KINDS.index("action alone")])
    too_long = kinds == KINDS.index("gap too long")
    longest = length - 2 * EVENT + 1
    least = np.where(too_long, max_gap + 1, 1)
    gaps = least + _below(random.child("gap"), counters, np.where(too_long, longest - max_gap, max_gap))
    distance = np.where(alone, 0, EVENT - 1 + gaps)  # from the first event's first step to the second's
    first = _below(random.child("place"), counters, length - EVENT - distance + 1)
    second = first + distance
    swapped = kinds == KINDS.index("action before trigger")
    return np.where(swapped, second, first), np.where(swapped, first, second)


def _below(random: CounterRandom, counters: NDArray[np.uint64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Draw ``(N,)`` uniform integers in [0, high) with ``high (N,)`` per row: floor(uniform * high)."""
    return (random.uniform(counters, 1)[:, 0] * high).astype(np.int64)


def _check_request(split: str, length: int, max_gap: int, *, distractors: bool) -> None:
    """Raise RequestError with all problems of a request: the longest gap has to fit between two events."""
    problems = []
    beyond = 1 if distractors else 0  # a too long gap has to fit as well
    needed = max_gap + beyond + 2 * EVENT - 1
    if max_gap < 1:
        problems.append(f"data.max_gap={max_gap} allows no action: set data.max_gap to 1 or more")
    elif length < needed:
        fitting = max_gap - (needed - length)
        shorten = f", or data.max_gap to {fitting} or less" if fitting >= 1 else ""
        what = "both events and a gap longer than" if distractors else "both events and"
        problems.append(
            f"data.length={length} is too short for {what} data.max_gap={max_gap}: set data.length to {needed} "
            f"or more{shorten}"
        )
    check_request(split, problems)


class TriggerActionData(GeneratedClassification):
    """Is a trigger followed by an action within five steps? Two classes, balanced exactly, with hard negatives.

    Args:
        length: steps of a sequence.
        max_gap: most steps from the last step of the trigger to the first of the action; 1: immediately.
        distractors: negatives contain, in equal parts, a trigger alone, an action alone, the action before the
            trigger, or both too far apart; without, only noise.

    The other arguments are those of ``GeneratedData``.
    """

    def __init__(
        self,
        *,
        length: Length = 30,
        max_gap: PositiveInt = 5,
        distractors: bool = True,
        train_size: PositiveInt = 8000,
        val_size: PositiveInt = 2000,
        test_size: PositiveInt = 2000,
        fresh: bool = False,
        batch_size: PositiveInt = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(
            train_size=train_size, val_size=val_size, test_size=test_size, fresh=fresh, batch_size=batch_size, seed=seed
        )
        self.length, self.max_gap, self.distractors = length, max_gap, distractors

    @override
    def class_names(self) -> tuple[str, ...]:
        return "no action in time", "trigger and action"

    @override
    def longest(self) -> int:
        return self.length

    @override
    def question(self) -> str:
        return f"in {self.length} steps, is a trigger followed by an action within {self.max_gap}?"

    @override
    def notes(self) -> tuple[str, ...]:
        negatives = HARD_NEGATIVES if self.distractors else (NOISE_ONLY,)
        return (f"negatives: {', '.join(negatives)}",)

    @override
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        inputs, labels = trigger_action_sequences(
            indices,
            seed=self.seed,
            split=split,
            length=self.length,
            max_gap=self.max_gap,
            distractors=self.distractors,
        )
        return TensorSamples(torch.from_numpy(inputs), torch.from_numpy(labels))
