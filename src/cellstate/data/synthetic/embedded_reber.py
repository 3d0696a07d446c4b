"""The embedded Reber grammar: a string ends with the symbol it opened with, with Reber strings in between."""

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
BLOCK_STEPS = 64  # coins drawn per string at a time
# Node -> possible next symbols and the nodes they lead to (Reber 1967, as in Cleeremans et al. 1989).
REBER = {
    0: (("B", 1),),
    1: (("T", 2), ("P", 3)),
    2: (("S", 2), ("X", 4)),
    3: (("T", 3), ("V", 5)),
    4: (("X", 3), ("S", 6)),
    5: (("P", 4), ("V", 6)),
    6: (("E", None),),
}
OUTER = ("T", "P")  # one of them opens and closes an embedding


class Grammar(NamedTuple):
    """A finite automaton of S states, each with two equally likely transitions, identical if there is no choice.

    State 0 is the start; the last state is the absorbing end. A symbol leads from a state to only one state, so the
    symbols so far determine the state, and the true probability of the next symbol is 1/2 or 1.
    """

    symbols: NDArray[np.uint8]  # (S, 2) indices in SYMBOLS; E for the end
    successors: NDArray[np.int64]  # (S, 2)
    forks: NDArray[np.bool_]  # (S,) whether the transitions differ

    @property
    def end(self) -> int:
        """The last state."""
        return len(self.forks) - 1

    def visits(self, weight_of_a_way: float = 0.5) -> NDArray[np.float64]:
        """Return ``(S - 1,)``: the expected number of visits of each state but the end by a string.

        With w the weight of a transition from a fork (its probability 1/2), v = e_0 + M^T v, where M contains the
        weights from state to state. With w = 1/4, v is the sum of the squared probabilities of all paths to a state.
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
    """Return indices in SYMBOLS ``(N, longest)`` and lengths ``(N,)`` of samples of a split.

    A string of the embedded Reber grammar (Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 1997,
    experiment 1; Cleeremans, Servan-Schreiber & McClelland 1989): at each fork both transitions have
    probability 1/2. Strings have 9 symbols or more, without a bound; they are padded with E to the longest in the call.
    Apart from the padding, a sample is a pure function of its index and the keyword arguments. Splits draw from
    independent streams; short strings are common, so splits share many.

    RequestError if ``repeats`` is below 1.
    """
    problems = []
    if repeats < 1:
        problems.append(f"data.repeats={repeats} is too small: set data.repeats to 1 or more")
    check_request(split, problems)
    counters = as_counters(indices)
    random = CounterRandom("embedded_reber", seed, split)
    grammar = embedded_reber_grammar(repeats)
    states, lengths = np.zeros(len(counters), np.int64), np.zeros(len(counters), np.int64)
    columns: list[NDArray[np.uint8]] = []
    walking = np.arange(len(counters))  # rows not at the end
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
    """What is the next symbol of a string of the embedded Reber grammar, in particular the one closing the embedding?

    Args:
        repeats: Reber strings in the embedding, concatenated; more require a longer memory.

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
        """Two strings are equal with the sum of all squared probabilities, that of the last state before the end."""
        equal = self.grammar.visits(0.25)[-1]
        return (f"splits share short strings: two strings are equal with probability {equal:.2g}",)

    @override
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        return next_symbols(*embedded_reber_strings(indices, seed=self.seed, split=split, repeats=self.repeats))

    @override
    def optimum(self) -> Scores:
        """Return the expected scores of a predictor that knows the grammar.

        A string costs ln 2 at each fork and 0 elsewhere, including the closing symbol, as the opening one is known. The
        metric is a mean over all symbols but the first, B, of all strings. For many strings it converges to a quotient
        of two expectations over one string (not to the expectation of a quotient):

            loss = E[forks] ln 2 / E[symbols - 1],   accuracy = 1 - E[forks] / 2 / E[symbols - 1],

        both from the expected visits of each state (``Grammar.visits``).
        """
        visits = self.grammar.visits()
        return self._scores(float(visits[self.grammar.forks[:-1]].sum()), float(visits.sum() - 1))

    @override
    def optimum_realised(self) -> Scores:
        """Return the scores of that predictor on the strings of the reported split: mean -ln p.

        A fork counts as half a hit, as both symbols are equally likely.
        """
        return self._scores(*self._counted)

    @override
    def references(self) -> dict[str, Scores]:
        """Return chains of order 0 (``unigram``) to 3, estimated on the training split, and ``guessed_close``.

        ``guessed_close`` knows the grammar but not the opening symbol: it pays ln 2 for one more symbol per string,
        where it is right half of the time.
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
        """Score a predictor with probability 1/2 at ``forks`` of the targets, and 1 at the others."""
        return {**token_scores(forks * math.log(2) / targets, 1 - forks / 2 / targets), "closing_accuracy": 1.0}

    @cached_property
    def _counted(self) -> tuple[int, int]:
        """The number of forks and targets in the strings of the reported split."""
        samples = self.samples(self.reported_split)
        assert samples.lengths is not None
        grammar, forks = self.grammar, 0
        states = np.full(len(samples), grammar.successors[0, 0])  # after B
        for symbols in samples.targets.numpy().T:
            forks += int(grammar.forks[states].sum())
            states = grammar.successors[states, (grammar.symbols[states, 0] != symbols).astype(np.int64)]
        return forks, int(samples.lengths.sum())
