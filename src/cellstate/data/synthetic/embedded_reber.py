"""The embedded Reber grammar: what closes a string is what opened it, and a shorter grammar lies between the two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from typing_extensions import override

from cellstate.config.types import PositiveInt
from cellstate.data.datamodule import Scores
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.generated import check_request
from cellstate.data.synthetic.randomness import CounterRandom, as_counters
from cellstate.data.synthetic.tokens import GeneratedTokens, next_symbols
from cellstate.metrics.tokens import token_scores

SYMBOLS = tuple("BTPSXVE")
BLOCK_STEPS = 64  # coins of a string that are drawn at a time
# Node -> the symbols that may follow and the nodes they lead to (Reber 1967, as drawn by Cleeremans et al. 1989).
REBER = {
    0: (("B", 1),),
    1: (("T", 2), ("P", 3)),
    2: (("S", 2), ("X", 4)),
    3: (("T", 3), ("V", 5)),
    4: (("X", 3), ("S", 6)),
    5: (("P", 4), ("V", 6)),
    6: (("E", None),),
}
OUTER = ("T", "P")  # either opens and closes an embedding


class Grammar(NamedTuple):
    """A finite automaton whose states S each have two ways on, equally likely; both the same where there is no choice.

    State 0 is the start; the last state is the end, which is never left. A symbol leads from a state to one state only,
    so that what was read so far tells the state, and the true probability of what follows is 1/2 or 1.
    """

    symbols: NDArray[np.uint8]  # (S, 2) numbers in SYMBOLS; of the end, E
    successors: NDArray[np.int64]  # (S, 2)
    forks: NDArray[np.bool_]  # (S,) whether the ways differ

    @property
    def end(self) -> int:
        """The last state."""
        return len(self.forks) - 1

    def visits(self, weight_of_a_way: float = 0.5) -> NDArray[np.float64]:
        """Return ``(S - 1,)``: how often a string is expected to pass each state but the end.

        With w the weight of a way from a fork (1/2 its probability), v = e_0 + M^T v, where M holds the weights of the
        ways from state to state. Where w = 1/4, v sums the squared probabilities of all ways to a state instead.
        """
        moves = np.zeros((self.end + 1, self.end + 1))
        weights = np.where(self.forks, weight_of_a_way, 0.5)
        for way in range(2):
            np.add.at(moves, (np.arange(self.end), self.successors[:-1, way]), weights[:-1])
        return np.linalg.solve(np.eye(self.end) - moves[:-1, :-1].T, np.eye(self.end)[0])


@lru_cache(maxsize=8)
def embedded_reber_grammar(repeats: int = 1) -> Grammar:
    """Return the grammar: B, one of T and P, ``repeats`` Reber strings, the same of T and P again, E."""
    ways: dict[object, tuple[tuple[str, object], ...]] = {
        "start": (("B", "open"),),
        "open": tuple((marker, (marker, 0, 0)) for marker in OUTER),
    }
    for marker in OUTER:
        for number in range(repeats):
            after = (marker, number + 1, 0) if number + 1 < repeats else ("close", marker)
            for node, choices in REBER.items():
                ways[marker, number, node] = tuple(
                    (symbol, after if goal is None else (marker, number, goal)) for symbol, goal in choices
                )
        ways["close", marker] = ((marker, "last"),)
    ways["last"] = (("E", "end"),)
    ways["end"] = (("E", "end"),)
    place = {state: row for row, state in enumerate(ways)}
    pairs = [choices if len(choices) == 2 else choices * 2 for choices in ways.values()]
    return Grammar(
        np.asarray([[SYMBOLS.index(symbol) for symbol, _ in pair] for pair in pairs], np.uint8),
        np.asarray([[place[goal] for _, goal in pair] for pair in pairs]),
        np.asarray([len(choices) == 2 for choices in ways.values()]),
    )


def embedded_reber_strings(
    indices: ArrayLike | Sequence[int], *, seed: int, split: str, repeats: int = 1
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return numbers in SYMBOLS ``(N, longest)`` and lengths ``(N,)`` of samples of a split.

    A string of the embedded Reber grammar (Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 1997,
    experiment 1; Cleeremans, Servan-Schreiber & McClelland 1989): at each fork either way with probability 1/2.
    Strings have 9 symbols or more, without a bound; shorter ones are padded with E to the longest of those asked for.
    Apart from that padding, a sample is a pure function of its index and the keyword arguments. Splits draw from
    independent streams; short strings are common, so splits share many.

    RequestError where there is no string in the embedding.
    """
    problems = []
    if repeats < 1:
        problems.append(f"data.repeats={repeats} embeds nothing: set data.repeats to 1 or more")
    check_request(split, problems)
    counters = as_counters(indices)
    random = CounterRandom("embedded_reber", seed, split)
    grammar = embedded_reber_grammar(repeats)
    states, lengths = np.zeros(len(counters), np.int64), np.zeros(len(counters), np.int64)
    columns: list[NDArray[np.uint8]] = []
    walking = np.arange(len(counters))  # rows that have not ended
    while len(walking):
        step = len(columns) % BLOCK_STEPS
        if step == 0:
            coins = random.child(len(columns) // BLOCK_STEPS).coins(counters[walking], BLOCK_STEPS)
        way = coins[:, step]
        column = np.full(len(counters), SYMBOLS.index("E"), np.uint8)
        column[walking] = grammar.symbols[states[walking], way]
        states[walking] = grammar.successors[states[walking], way]
        columns.append(column)
        lengths[walking] += 1
        alive = states[walking] != grammar.end
        walking, coins = walking[alive], coins[alive]
    return np.stack(columns, axis=1) if columns else np.empty((0, 0), np.uint8), lengths


class EmbeddedReberData(GeneratedTokens):
    """What is the next symbol of a string of the embedded Reber grammar? Above all: what closes the embedding?

    Args:
        repeats: Reber strings in the embedding, one after the other; the more, the longer the memory that it takes.

    The other arguments are those of ``GeneratedData``.
    """

    answer = ("closing_accuracy", 2, 2)  # the last target is E

    def __init__(
        self,
        *,
        repeats: Annotated[int, Field(gt=0, le=1000)] = 1,
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
        self.repeats = repeats

    @property
    def grammar(self) -> Grammar:
        """The automaton that draws the strings."""
        return embedded_reber_grammar(self.repeats)

    @override
    def vocabulary(self) -> tuple[str, ...]:
        return SYMBOLS

    @override
    def longest(self) -> int:
        return 4 + 5 * self.repeats  # of the shortest string

    @override
    def question(self) -> str:
        return "which symbol follows in the embedded Reber grammar, and which closes the embedding?"

    @override
    def notes(self) -> tuple[str, ...]:
        """Two strings are equal with the sum of all squared probabilities; the last state before the end has it all."""
        equal = self.grammar.visits(0.25)[-1]
        return (f"splits share strings, as short ones are common: two are equal with probability {equal:.2g}",)

    @override
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        return next_symbols(*embedded_reber_strings(indices, seed=self.seed, split=split, repeats=self.repeats))

    @override
    def optimum(self) -> Scores:
        """Return what a predictor that knows the grammar can expect.

        A string costs ln 2 at each fork and nothing elsewhere, the close included, since it remembers what opened. The
        metric is a mean over all symbols of all strings but the first of each, B. That mean of ever more strings goes
        to a quotient of two expectations of one string (not to the expectation of a quotient):

            loss = E[forks] ln 2 / E[symbols - 1],   accuracy = 1 - E[forks] / 2 / E[symbols - 1],

        with both from the expected visits of each state (``Grammar.visits``).
        """
        visits = self.grammar.visits()
        return self._scores(float(visits[self.grammar.forks[:-1]].sum()), float(visits.sum() - 1))

    @override
    def optimum_realised(self) -> Scores:
        """Return what that predictor reaches on the very strings of the reported split: mean -ln p.

        A guess at a fork counts as half a hit, as either way is as good.
        """
        return self._scores(*self._counted)

    @override
    def references(self) -> dict[str, Scores]:
        """Return what chains of order 0 (``unigram``) to 3 reach, counted on the training split, and a forgetful one.

        ``guessed_close`` knows the grammar but not what opened the string: it pays ln 2 for one more symbol of
        each string, and is right there every other time.
        """
        forks, targets = self._counted
        strings = len(self.samples(self.reported_split))
        guess = {**self._scores(forks + strings, targets), "closing_accuracy": 0.5}
        table = self.fitted_chains()
        for metric, value in guess.items():
            table.setdefault(metric, {})["guessed_close"] = value
        return table

    @staticmethod
    def _scores(forks: float, targets: float) -> Scores:
        """Score a predictor that halves its chances so many times among so many targets, and is sure of the others."""
        return {**token_scores(forks * math.log(2) / targets, 1 - forks / 2 / targets), "closing_accuracy": 1.0}

    @cached_property
    def _counted(self) -> tuple[int, int]:
        """Forks and targets in the strings of the reported split, found by reading them."""
        samples = self.samples(self.reported_split)
        assert samples.lengths is not None
        grammar, forks = self.grammar, 0
        states = np.full(len(samples), grammar.successors[0, 0])  # after B
        for symbols in samples.targets.numpy().T:
            forks += int(grammar.forks[states].sum())
            states = grammar.successors[states, (grammar.symbols[states, 0] != symbols).astype(np.int64)]
        return forks, int(samples.lengths.sum())
