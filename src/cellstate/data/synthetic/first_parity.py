"""Is one digit of a sequence even? The decisive digit is at the start and has to be remembered to the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from cellstate.config.types import Length, NonNegativeInt, PositiveInt
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.classification import GeneratedClassification
from cellstate.data.synthetic.generated import check_request
from cellstate.data.synthetic.randomness import CounterRandom, as_counters

DIGITS = 10
MEAN, STD = (DIGITS - 1) / 2, ((DIGITS**2 - 1) / 12) ** 0.5  # of a uniform digit: 4.5 and 2.872


def parity_sequences(
    indices: ArrayLike | Sequence[int], *, seed: int, split: str, length: int = 10, lag: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return digits 0 to 9 ``(N, length)`` and labels ``(N,)`` (1: the decisive digit is even) of samples of a split.

    The decisive digit is ``lag`` steps before the last one (0: the last itself; None: the first). All digits are
    uniform and independent, except that the label of index i is fixed as ``i % 2``, so that an even number of samples
    is balanced exactly. A sample is a pure function of its index and the keyword arguments.

    Splits draw from independent streams: two samples are equal with probability ``10^-length``.
    RequestError if the lag is outside the sequence.
    """
    place = _decisive_place(length, lag, split)
    counters = as_counters(indices)
    random = CounterRandom("first_parity", seed, split, length)
    labels = (counters % np.uint64(2)).astype(np.int64)
    digits = random.integers(counters, length, DIGITS).astype(np.uint8)
    digits[:, place] = digits[:, place] // 2 * 2 + (1 - labels)  # the pair {2k, 2k + 1} is uniform, the label picks one
    return digits, labels


def _decisive_place(length: int, lag: int | None, split: str) -> int:
    """Return the place of the decisive digit, from 0, or raise RequestError with every problem of the request."""
    problems = []
    if length < 1:
        problems.append(f"data.length={length} is too short: set data.length to 1 or more")
    elif lag is not None and not 0 <= lag < length:
        problems.append(
            f"data.lag={lag} is outside a sequence of data.length={length} digits: set data.lag from 0 (the last "
            f"digit) to {length - 1} (the first), or null for the first"
        )
    check_request(split, problems)
    return 0 if lag is None else length - 1 - lag


class FirstParityData(GeneratedClassification):
    """Is the first of ten digits even? Two classes, balanced exactly.

    Scalars are standardised with the known mean 4.5 and standard deviation 2.872 of a uniform digit; neighbouring
    digits, 0.35 apart, have different classes. One-hot digits make the task linear.

    Args:
        length: digits of a sequence.
        lag: steps from the decisive digit to the last one: 0 for the last, None for the first.
        encoding: ``scalar``, one feature ``(d - 4.5) / 2.872``, or ``one_hot``, ten features.

    The other arguments are those of ``GeneratedData``.
    """

    def __init__(
        self,
        *,
        length: Length = 10,
        lag: NonNegativeInt | None = None,
        encoding: Literal["scalar", "one_hot"] = "scalar",
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
        self.length, self.lag, self.encoding = length, lag, encoding

    @override
    def class_names(self) -> tuple[str, ...]:
        return "odd", "even"

    @override
    def input_values(self) -> tuple[float, ...]:
        one_hot = self.encoding == "one_hot"
        return (0.0, 1.0) if one_hot else tuple((digit - MEAN) / STD for digit in range(DIGITS))

    @override
    def longest(self) -> int:
        return self.length

    @override
    def question(self) -> str:
        which = "the first" if self.lag is None else f"the one {self.lag} steps before the last"
        return f"of {self.length} digits, is {which} even?"

    @override
    def notes(self) -> tuple[str, ...]:
        return self.overlap(DIGITS**self.length)

    @override
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        digits, labels = parity_sequences(indices, seed=self.seed, split=split, length=self.length, lag=self.lag)
        return TensorSamples(self._encoded(torch.from_numpy(digits)), torch.from_numpy(labels))

    def _encoded(self, digits: torch.Tensor) -> torch.Tensor:
        """Return ``(N, length)`` digits as features ``(N, length, 1)`` or ``(N, length, 10)``."""
        if self.encoding == "one_hot":
            return torch.eye(DIGITS)[digits.long()]
        return ((digits.float() - MEAN) / STD).unsqueeze(-1)
