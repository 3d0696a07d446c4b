"""The adding problem: predict the sum of two marked numbers in a long sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from cellstate.config.types import Length, PositiveInt
from cellstate.data.datamodule import Scores
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.generated import check_request
from cellstate.data.synthetic.randomness import CounterRandom, as_counters
from cellstate.data.synthetic.regression import GeneratedRegression


class Addition(NamedTuple):
    """Samples of the adding problem: numbers, the positions of the marked ones, and their sum."""

    numbers: NDArray[np.float64]  # (N, length) in [0, 1)
    marked: NDArray[np.int64]  # (N, 2) positions of the marked ones, from 0, in order
    sums: NDArray[np.float64]  # (N,)


def adding_sequences(indices: ArrayLike | Sequence[int], *, seed: int, split: str, length: int = 100) -> Addition:
    """Return samples of a split: ``length`` numbers uniform in [0, 1), of which two are marked.

    The task is that of Hochreiter & Schmidhuber ("Long short-term memory", Neural Computation 1997, experiment 4) in
    the form of Arjovsky, Shah & Bengio ("Unitary evolution recurrent neural networks", ICML 2016): one mark is uniform
    over the first ``length // 2`` positions and one over the others; all sequences are equally long, the target is the
    plain sum, and marks are 0 or 1. (In 1997 the numbers are in [-1, 1], the first mark among the first ten positions,
    lengths vary by a tenth, marks are -1, 0 and 1, and the target is 0.5 + sum / 4.)

    A sample is a pure function of its index and the keyword arguments; splits draw from independent streams.
    RequestError if the length is below 2.
    """
    problems = []
    if length < 2:
        problems.append(f"data.length={length} is too short for two marked numbers: set data.length to 2 or more")
    check_request(split, problems)
    counters = as_counters(indices)
    random = CounterRandom("adding", seed, split, length)
    numbers = random.child("numbers").uniform(counters, length)
    half = length // 2
    first = random.child("first").integers(counters, 1, half)
    second = half + random.child("second").integers(counters, 1, length - half)
    marked = np.concatenate((first, second), axis=1)
    return Addition(numbers, marked, np.take_along_axis(numbers, marked, axis=1).sum(axis=1))


class AddingData(GeneratedRegression):
    """Of 100 numbers two are marked, one in each half: what is their sum?

    A step has two features: the number, and 1 where it is marked, else 0.

    Args:
        length: numbers per sequence.

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
    def longest(self) -> int:
        return self.length

    @override
    def question(self) -> str:
        return f"of {self.length} numbers in [0, 1) two are marked, what is their sum?"

    @override
    def target_names(self) -> tuple[str, ...]:
        return ("sum",)

    @override
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        drawn = adding_sequences(indices, seed=self.seed, split=split, length=self.length)
        inputs = torch.zeros(len(drawn.sums), self.length, 2)
        inputs[..., 0] = torch.from_numpy(drawn.numbers)
        inputs[..., 1].scatter_(1, torch.from_numpy(drawn.marked), 1.0)
        return TensorSamples(inputs, torch.from_numpy(drawn.sums).unsqueeze(1))

    def optimum(self) -> Scores:
        """A perfect predictor exists, as the sum is a function of the sequence."""
        return self.with_scaled({"mae": 0.0, "rmse": 0.0, "mse": 0.0})

    def references(self) -> dict[str, Scores]:
        r"""``one``: always 1, in expectation. ``mean`` and ``second_only``: scored on the reported split.

        The sum of two independent numbers uniform in [0, 1) has mean 1 and, as the variance of each is 1/12, the
        variance 1/6. Its distance from the mean, x = |sum - 1|, has the density 2 (1 - x) on [0, 1]. So the
        best constant prediction, 1, has

            mse = 1/6 = 0.1667,   mae = 2 int_0^1 x (1 - x) dx = 1/3,   rmse = 1 / sqrt(6) = 0.4082.

        ``second_only`` has forgotten the first marked number and adds 1/2 to the second: its error is the distance of
        one number from its mean, with expected mse 1/12 and mae 1/4.
        """
        table = super().references()
        for metric, value in self.with_scaled({"mae": 1 / 3, "rmse": 6**-0.5, "mse": 1 / 6}).items():
            table[metric]["one"] = value
        return table

    @override
    def predictions(self) -> dict[str, NDArray[np.float64]]:
        inputs = self.samples(self.reported_split).inputs.double()
        half = self.length // 2
        second = (inputs[:, half:, 0] * inputs[:, half:, 1]).sum(1, keepdim=True)
        return {"second_only": second.numpy() + 0.5}
