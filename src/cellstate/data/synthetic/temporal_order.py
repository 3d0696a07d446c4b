"""In which order did two rare symbols occur among distractors? Experiment 6a of Hochreiter & Schmidhuber 1997."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from cellstate.config.types import Length, PositiveInt
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.classification import GeneratedClassification
from cellstate.data.synthetic.generated import check_request
from cellstate.data.synthetic.randomness import CounterRandom, as_counters

SYMBOLS = ("E", "B", "a", "b", "c", "d", "X", "Y")  # start, end, distractors, and the two relevant ones
START, END, FIRST_DISTRACTOR, DISTRACTORS, FIRST_MARKER, MARKERS = 0, 1, 2, 4, 6, 2
PADDING = len(SYMBOLS)  # after the end of a sequence; all features 0
CLASSES = ("XX", "XY", "YX", "YY")
LEAST_LENGTH = 10  # a tenth of it is a step


class Places(NamedTuple):
    """The ranges for a ``length``, both ends included; steps are counted from 0, the position of the E."""

    lengths: tuple[int, int]
    first: tuple[int, int]
    second: tuple[int, int]

    @classmethod
    def of(cls, length: int) -> Places:
        """Return the paper's ranges for 100, and the same fractions of another length, rounded down.

        Lengths from L to 1.1 L, the first marker at 0.1 L to 0.2 L, the second at 0.5 L to 0.6 L.
        """
        tenths = [length * tenth // 10 for tenth in range(12)]
        return cls((length, tenths[11]), (tenths[1], tenths[2]), (tenths[5], tenths[6]))


def temporal_order_sequences(
    indices: ArrayLike | Sequence[int], *, seed: int, split: str, length: int = 100
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Return indices in SYMBOLS ``(N, 1.1 length)``, lengths ``(N,)`` and labels ``(N,)`` of samples of a split.

    E, then distractors a to d, uniform and independent, with X or Y at the two positions of ``Places.of(length)``, then
    B, then PADDING. Length and positions are uniform over their ranges and independent. The label, an index in CLASSES,
    is fixed as ``i % 4`` for index i, so that each class is exactly a quarter of a multiple of four samples. A sample
    is a pure function of its index and the keyword arguments; splits draw from independent streams.

    RequestError if the length is below 10.
    """
    problems = []
    if length < LEAST_LENGTH:
        problems.append(f"data.length={length} is too short: set data.length to {LEAST_LENGTH} or more")
    check_request(split, problems)

    counters = as_counters(indices)
    random = CounterRandom("temporal_order", seed, split, length)
    places = Places.of(length)
    labels = (counters % np.uint64(len(CLASSES))).astype(np.int64)
    lengths, first, second = (_between(random.child(name), counters, getattr(places, name)) for name in places._fields)

    rows, width = np.arange(len(counters)), places.lengths[1]
    symbols = FIRST_DISTRACTOR + random.child("distractors").integers(counters, width, DISTRACTORS).astype(np.uint8)
    symbols[:, 0] = START
    symbols[rows, first] = FIRST_MARKER + labels // MARKERS
    symbols[rows, second] = FIRST_MARKER + labels % MARKERS
    symbols[rows, lengths - 1] = END
    symbols[np.arange(width) >= lengths[:, None]] = PADDING
    return symbols, lengths, labels


def _between(random: CounterRandom, counters: NDArray[np.uint64], ends: tuple[int, int]) -> NDArray[np.int64]:
    """Draw ``(N,)`` uniform integers between ``ends``, both included."""
    low, high = ends
    return low + random.integers(counters, 1, high - low + 1)[:, 0]


class TemporalOrderData(GeneratedClassification):
    """Which of X and Y came first and which second, 30 to 50 steps apart among distractors? Four classes of equal size.

    Symbols are one-hot, eight features a step; sequences vary in length and are padded with zeros.

    Args:
        length: shortest length of a sequence; the longest is a tenth more. The markers are at 0.1 to 0.2 and 0.5 to
            0.6 of it (rounded down); 100 is the setting of the paper.

    The other arguments are those of ``GeneratedData``.
    """

    def __init__(
        self,
        *,
        length: Length = 100,
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
        self.length = length

    @override
    def class_names(self) -> tuple[str, ...]:
        return CLASSES

    @override
    def input_values(self) -> tuple[float, ...]:
        return 0.0, 1.0

    @override
    def longest(self) -> int:
        return self.length

    @override
    def question(self) -> str:
        shortest, longest = Places.of(self.length).lengths
        return f"which of X and Y came first, and which second, in {shortest} to {longest} symbols?"

    @override
    def notes(self) -> tuple[str, ...]:
        """Count the sequences of the shortest, likeliest length: classes, two positions, four kinds of distractors."""
        places = Places.of(self.length)
        ways = [high - low + 1 for low, high in (places.first, places.second)]
        return self.overlap(len(CLASSES) * ways[0] * ways[1] * DISTRACTORS ** (self.length - 4))

    @override
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        symbols, lengths, labels = temporal_order_sequences(indices, seed=self.seed, split=split, length=self.length)
        features = torch.eye(len(SYMBOLS) + 1)[:, : len(SYMBOLS)]  # the last row, of PADDING, is 0
        inputs = features[torch.from_numpy(symbols).long()]  # (N, 1.1 length, 8)
        return TensorSamples(inputs, torch.from_numpy(labels), torch.from_numpy(lengths))
