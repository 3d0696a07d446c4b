"""The copy task: recall ten symbols after a long delay."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from cellstate.config.types import Length, PositiveInt
from cellstate.data.datamodule import Scores
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.generated import SPLITS, check_request
from cellstate.data.synthetic.randomness import CounterRandom, as_counters, mix_in_place
from cellstate.data.synthetic.tokens import GeneratedTokens
from cellstate.metrics.tokens import token_scores

ALPHABET = 8
RECALLED = 10  # symbols
BLANK, DELIMITER = ALPHABET, ALPHABET + 1
VOCABULARY = (*"abcdefgh", "_", ":")


def copy_sequences(
    indices: ArrayLike | Sequence[int], *, seed: int, split: str, delay: int = 30
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return inputs and targets of samples of a split, indices in VOCABULARY, ``(N, T + 20)`` each, T = ``delay``.

    Inputs: ten symbols, uniform and independent over eight; T - 1 blanks; the delimiter, which requests the recall;
    ten blanks. Targets: T + 10 blanks, then the ten symbols in order, so each is predicted T + 10 steps after it was
    seen. The task is that of Hochreiter & Schmidhuber (1997) in the form of Arjovsky, Shah & Bengio ("Unitary
    evolution recurrent neural networks", ICML 2016).

    A sample is a pure function of its index and the keyword arguments. No ten symbols are in two splits: those that
    ``owners`` assigns to another are redrawn. RequestError if there is no step for the delimiter.
    """
    problems = []
    if delay < 1:
        problems.append(f"data.delay={delay} leaves no step for the delimiter: set data.delay to 1 or more")
    check_request(split, problems)
    counters = as_counters(indices)
    symbols = np.empty((len(counters), RECALLED), np.uint8)
    random, pending, attempt = CounterRandom("copy_memory", seed, split), np.arange(len(counters)), 0
    while pending.size:  # terminates: each pass accepts a row with probability 1/4 or 1/2
        symbols[pending] = random.child(attempt).integers(counters[pending], RECALLED, ALPHABET)
        pending = pending[owners(symbols[pending], seed=seed) != SPLITS.index(split)]
        attempt += 1
    inputs = np.full((len(counters), delay + 2 * RECALLED), BLANK, np.uint8)
    targets = inputs.copy()
    inputs[:, :RECALLED] = symbols
    inputs[:, RECALLED + delay - 1] = DELIMITER
    targets[:, -RECALLED:] = symbols
    return inputs, targets


def owners(symbols: NDArray[np.uint8], *, seed: int) -> NDArray[np.int64]:
    """Return ``(N,)``: the index in SPLITS of the split that owns each ten ``symbols (N, 10)``.

    By a hash keyed with the seed: half belong to train, a quarter each to val and test.
    """
    key = CounterRandom("copy_memory", seed, "partition").bits([0], 1)[0]
    codes = (symbols @ ALPHABET ** np.arange(RECALLED)).astype(np.uint64)  # below 2^30
    quarters = mix_in_place(codes ^ key) >> np.uint64(62)
    return np.asarray([0, 0, 1, 2])[quarters.astype(np.int64)]


class CopyMemoryData(GeneratedTokens):
    """Which ten symbols came first, T steps ago? Until the delimiter, blanks are the targets.

    Args:
        delay: T, steps from the last symbol to the delimiter, after which the symbols are recalled.

    The other arguments are those of ``GeneratedData``.
    """

    answer = ("recall_accuracy", RECALLED, 1)

    def __init__(
        self,
        *,
        delay: Length = 30,
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
        self.delay = delay

    @override
    def vocabulary(self) -> tuple[str, ...]:
        return VOCABULARY

    @override
    def longest(self) -> int:
        return self.delay + 2 * RECALLED

    @override
    def question(self) -> str:
        return f"which {RECALLED} symbols of {ALPHABET} kinds came first, {self.delay} steps ago?"

    @override
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        parts = copy_sequences(indices, seed=self.seed, split=split, delay=self.delay)
        inputs, targets = (torch.from_numpy(part.astype(np.int64)) for part in parts)
        return TensorSamples(inputs, targets)

    @override
    def optimum(self) -> Scores:
        """Every target is a function of the inputs so far, so a perfect predictor exists."""
        return {**token_scores(0.0, 1.0), "recall_accuracy": 1.0}

    @override
    def references(self) -> dict[str, Scores]:
        """Return ``memoryless``: the best predictor that knows the step but not the symbols.

        It predicts the T + 10 blanks with certainty and each of the ten symbols with 1/8, so its expected loss is
        10 ln 8 / (T + 20), its accuracy (T + 10 + 10 / 8) / (T + 20).
        """
        length, chance = self.delay + 2 * RECALLED, 1 / ALPHABET
        loss = RECALLED * math.log(ALPHABET) / length
        accuracy = (length - RECALLED + RECALLED * chance) / length
        scores = {**token_scores(loss, accuracy), "recall_accuracy": chance}
        return {metric: {"memoryless": value} for metric, value in scores.items()}
