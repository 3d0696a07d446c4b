"""What is the next state of a random Markov chain? A task with a closed-form best possible score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from cellstate.config.types import Length, NonNegativeInt, PositiveFloat, PositiveInt
from cellstate.data.datamodule import Scores
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.chain import MarkovChain, random_transitions
from cellstate.data.synthetic.generated import check_request
from cellstate.data.synthetic.randomness import CounterRandom, as_counters
from cellstate.data.synthetic.tokens import GeneratedTokens, next_symbols
from cellstate.metrics.tokens import token_scores

MOST_CONTEXTS = 4096  # size of the dense linear system for the stationary distribution
LEAST_CONCENTRATION = 0.01  # below, chains become numerically reducible in double precision
BLOCK_ROWS = 8192  # sequences sampled in parallel, to fit into the cache
MANY = 60.0  # ln of a number of sequences at which repetitions are negligible


@lru_cache(maxsize=8)
def markov_chain(*, seed: int, states: int = 6, order: int = 2, concentration: float = 0.3) -> MarkovChain:
    """Return the chain of a seed: each row of its transitions is drawn from the symmetric Dirichlet distribution.

    The smaller the concentration, the more predictable the next state: 1 is uniform over all distributions, and near 0
    a context has a single successor. The chain does not depend on split or length.
    """
    random = CounterRandom("markov", seed, "chain", states, order)
    return MarkovChain(random_transitions(random, states, order, concentration))


def markov_sequences(
    indices: ArrayLike | Sequence[int],
    *,
    seed: int,
    split: str,
    states: int = 6,
    order: int = 2,
    length: int = 100,
    concentration: float = 0.3,
) -> NDArray[np.uint16]:
    """Return sequences of states 0 to n - 1, ``(N, length)``, of samples of a split.

    All are from the ``markov_chain`` of the seed. The first k states are drawn from its stationary distribution, so any
    k + 1 consecutive states have the same distribution at every position. A sample is a pure
    function of its index and the keyword arguments; splits draw from independent streams.

    RequestError if the parameters are invalid, or the length is too short for a context and a state after it.
    """
    _check_request(split, states, order, length, concentration)
    counters = as_counters(indices)
    chain = markov_chain(seed=seed, states=states, order=order, concentration=concentration)
    random = CounterRandom("markov", seed, split, states, order, length)
    first = random.child("context").uniform(counters, 1)[:, 0]
    steps = random.child("steps")
    sequences = np.empty((len(counters), length), np.uint16)
    for start in range(0, len(counters), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        sequences[rows] = chain.walk(steps.uniform(counters[rows], length - order), first[rows])
    return sequences


def _check_request(split: str, states: int, order: int, length: int, concentration: float) -> None:
    """Raise RequestError with all problems of a request."""
    problems = []
    if states < 2:
        problems.append(f"data.states={states} leaves nothing to predict: set data.states to 2 or more")
    elif states > MOST_CONTEXTS:
        problems.append(f"data.states={states} is too many: set data.states to {MOST_CONTEXTS} or less")
    elif order < 0:
        problems.append(f"data.order={order} is negative: set data.order to 0 or more")
    elif order * math.log(states) > math.log(MOST_CONTEXTS) + 1e-9:
        most = int(math.log(MOST_CONTEXTS) / math.log(states) + 1e-9)
        problems.append(
            f"data.order={order} over data.states={states} has more than {MOST_CONTEXTS:,} contexts: set data.order "
            f"to {most} or less, or fewer data.states"
        )
    least = max(order + 1, 2)
    if length < least:
        problems.append(
            f"data.length={length} is too short for a context and a state after it: set data.length to {least} or more"
        )
    if not LEAST_CONCENTRATION <= concentration < math.inf:
        problems.append(
            f"data.concentration={concentration} is out of range: set data.concentration to {LEAST_CONCENTRATION} or "
            "more; 1 is uniform over all transitions, less is more predictable"
        )
    check_request(split, problems)


class MarkovData(GeneratedTokens):
    """What is the next state? Sequences of a random chain of order 2 over 6 states.

    Args:
        states: number of states n.
        order: number of previous states k that determine the next; 0 draws each independently.
        length: states of a sequence; the targets are all but the first.
        concentration: of the Dirichlet distribution of each row of transitions: the smaller, the more predictable the
            next state; 1 is uniform over all distributions.

    The other arguments are those of ``GeneratedData``.
    """

    def __init__(
        self,
        *,
        states: PositiveInt = 6,
        order: NonNegativeInt = 2,
        length: Length = 100,
        concentration: PositiveFloat = 0.3,
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
        self.states, self.order, self.length, self.concentration = states, order, length, concentration

    @cached_property
    def chain(self) -> MarkovChain:
        """The chain that generates all sequences."""
        return markov_chain(seed=self.seed, states=self.states, order=self.order, concentration=self.concentration)

    @override
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.states)))

    @override
    def longest(self) -> int:
        return self.length

    @override
    def question(self) -> str:
        return f"which of {self.states} states follows, in a chain of order {self.order}?"

    @override
    def notes(self) -> tuple[str, ...]:
        """Two sequences are equal with the probability that ``MarkovChain.equal_pairs`` gives."""
        rate, expected = self.chain.entropy(self.order), self.optimum()["loss"]
        fact = f"entropy rate {rate:.4f} nats per state"
        if self.order > 1:
            fact += f"; {expected:.4f} over {self.length} states, as the first ones have shorter contexts"
        logarithm = -self.chain.equal_pairs(self.length)
        return (fact, *(self.overlap(round(math.exp(logarithm))) if logarithm < MANY else ()))

    @override
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        return next_symbols(
            markov_sequences(
                indices,
                seed=self.seed,
                split=split,
                states=self.states,
                order=self.order,
                length=self.length,
                concentration=self.concentration,
            )
        )

    @override
    def optimum(self) -> Scores:
        """Return the expected scores of a predictor that knows the chain (``MarkovChain.optimum``).

        They are optimal: the mean of -ln q(state | context) is minimal for the true p (Gibbs' inequality), where it is
        the conditional entropy; accuracy is maximal for the likeliest state.
        """
        return self.chain.optimum(self.length)

    @override
    def optimum_realised(self) -> Scores:
        """Return the scores of that predictor on the sequences of the reported split: mean -ln p, and accuracy."""
        inputs, targets = self.steps(self.reported_split)
        chances, hits = self.chain.predictions(np.concatenate((inputs, targets[:, -1:]), axis=1))
        return token_scores(-float(np.log(chances).mean()), float(hits.mean()))

    @override
    def references(self) -> dict[str, Scores]:
        """Chains of order 0 (``unigram``) to 3, estimated on the training split."""
        return self.fitted_chains()
