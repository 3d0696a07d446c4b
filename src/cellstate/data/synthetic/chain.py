"""Stationary Markov chains of any order: random transitions, sampling, entropy and optimal prediction."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cellstate.data.synthetic.randomness import CounterRandom
from cellstate.metrics.tokens import token_scores

PROPOSALS = 24  # candidates per gamma variate, of which the first accepted one is used


class MarkovChain:
    """A stationary chain of order k over n states.

    A context, the previous k states, is a number below n^k whose digits in base n are the states, the newest last.

    Args:
        transitions: ``(n^k, n)``, p(state | context); rows sum to 1.
    """

    def __init__(self, transitions: NDArray[np.float64]) -> None:
        self.transitions = transitions
        self.contexts, self.states = transitions.shape
        self.order, size = 0, 1
        while size < self.contexts:
            self.order, size = self.order + 1, size * self.states
        if size != self.contexts:
            raise ValueError(f"{self.contexts} contexts are not a power of {self.states} states")

    def successors(self) -> NDArray[np.int64]:
        """Return ``(n^k, n)``: the next context for each context and state, without the oldest state."""
        contexts, states = np.ogrid[: self.contexts, : self.states]
        return (contexts * self.states + states) % self.contexts

    @cached_property
    def stationary(self) -> NDArray[np.float64]:
        """The stationary distribution of contexts, ``(n^k,)``: pi = pi P, sum pi = 1.

        With positive transitions the chain on contexts is irreducible, so pi is unique. The equations
        ``(I - P^T) pi = 0`` have rank one less than the unknowns; the sum replaces the last one.
        """
        equations = np.eye(self.contexts)
        rows = np.repeat(np.arange(self.contexts), self.states)
        np.subtract.at(equations, (self.successors().ravel(), rows), self.transitions.ravel())
        equations[-1] = 1.0
        pi = np.linalg.solve(equations, np.eye(self.contexts)[-1]).clip(0.0)
        return pi / pi.sum()

    def conditional(self, known: int) -> NDArray[np.float64]:
        """Return p(state | the ``known`` states since the start of the sequence), ``(n^known, n)``; at most k matter.

        With fewer than k, these are quotients of the stationary distribution's exact marginals:
        p(x_1 .. x_{j+1}) / p(x_1 .. x_j).
        """
        if known >= self.order:
            return self.transitions
        joint = self.joint(known)
        total = joint.sum(axis=1, keepdims=True)
        return np.divide(joint, total, out=np.full_like(joint, 1 / self.states), where=total > 0)

    def joint(self, known: int) -> NDArray[np.float64]:
        """Return p(``known`` states and the next one), ``(n^known, n)``; at most k + 1 states in total."""
        if known >= self.order:
            return self.stationary[:, None] * self.transitions
        longer = self.stationary.reshape(self.states ** (known + 1), -1)  # the oldest states are the leading digits
        return longer.sum(axis=1).reshape(-1, self.states)

    def entropy(self, known: int) -> float:
        """Return H(X_{j+1} | X_1 .. X_j) in nats, j = ``known``: -sum p(context, state) ln p(state | context).

        From j = k on it is the entropy rate, h = -sum_c pi_c sum_s P_cs ln P_cs.
        """
        return -float((self.joint(known) * safe_log(self.conditional(known))).sum())

    def best_accuracy(self, known: int) -> float:
        """Return the accuracy of the likeliest next state, sum_c p(c) max_s p(s | c), after ``known`` states."""
        return float(self.joint(known).max(axis=1).sum())

    def optimum(self, length: int) -> dict[str, float]:
        """Return the expected scores of the best predictor on sequences of ``length`` states.

        The targets are states 2 to L. Target j + 1 has j predecessors, of which the last min(j, k) matter, so

            loss = 1 / (L - 1) sum_{j=1}^{L-1} H(X_{j+1} | X_1 .. X_min(j,k)),

        slightly above the entropy rate for k > 1, as the first k - 1 targets have shorter contexts. Likewise accuracy.
        """
        known, times = np.unique(np.minimum(np.arange(1, length), self.order), return_counts=True)
        loss, accuracy = (
            float(np.average([score(int(count)) for count in known], weights=times))
            for score in (self.entropy, self.best_accuracy)
        )
        return token_scores(loss, accuracy)

    def predictions(self, sequences: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the probability of states 2 to L of ``sequences (N, L)``, and whether they were the likeliest.

        Both ``(N, L - 1)``, given the preceding states of the sequence.
        """
        targets = sequences[:, 1:]
        chances, hits = np.empty(targets.shape), np.empty(targets.shape, bool)
        context = np.zeros(len(sequences), np.int64)
        for place in range(targets.shape[1]):
            known = min(place + 1, self.order)
            table = self.conditional(known)
            context = (context * self.states + sequences[:, place]) % self.states**known
            chances[:, place] = table[context, targets[:, place]]
            hits[:, place] = table.argmax(axis=1)[context] == targets[:, place]
        return chances, hits

    def equal_pairs(self, length: int) -> float:
        """Return ln of the probability that two sequences of ``length`` states are equal: ln of the sum of p^2."""
        weights, logarithm = self.stationary**2, 0.0
        after = self.successors()
        for _ in range(length - self.order):
            weights = np.bincount(after.ravel(), (weights[:, None] * self.transitions**2).ravel(), self.contexts)
            logarithm += np.log(weights.sum())
            weights /= weights.sum()
        return float(logarithm + np.log(weights.sum()))

    def walk(self, uniforms: NDArray[np.float64], first: NDArray[np.float64]) -> NDArray[np.uint16]:
        """Return stationary sequences ``(N, k + L)`` from uniforms: ``(N, L)`` for steps, ``first (N,)`` for contexts.

        The first k states are drawn from the stationary distribution; each next state is found by bisection of the
        cumulative transitions of its context.
        """
        rows, steps = uniforms.shape
        sequences = np.empty((steps + self.order, rows), np.uint16)
        context = np.searchsorted(self.stationary.cumsum()[:-1], first, side="right")
        for place in range(self.order):
            sequences[place] = context // self.states ** (self.order - 1 - place) % self.states
        width = 1 << (self.states - 1).bit_length()
        bounds = np.full((self.contexts, width), 2.0)  # above all uniforms
        bounds[:, : self.states - 1] = self.transitions.cumsum(axis=1)[:, :-1]
        bounds = bounds.ravel()
        for step, drawn in enumerate(np.ascontiguousarray(uniforms.T)):
            state, start = np.zeros(rows, np.int64), context * width - 1
            half = width
            while half > 1:
                half //= 2
                state += half * (drawn >= bounds[start + state + half])
            sequences[self.order + step] = state
            context = (context * self.states + state) % self.contexts
        return sequences.T


def random_transitions(random: CounterRandom, states: int, order: int, concentration: float) -> NDArray[np.float64]:
    """Draw ``(n^k, n)`` rows from the symmetric Dirichlet distribution: gamma variates over their sum.

    In logarithms, since with a small concentration most of them underflow: a gamma variate of shape a < 1 is one of
    shape a + 1 times U^(1/a).
    """
    cells = np.arange(states ** (order + 1))
    logs = np.log(gamma(random.child("gamma"), cells, concentration + 1))
    logs += np.log1p(-random.child("power").uniform(cells, 1)[:, 0]) / concentration
    logs = logs.reshape(-1, states)
    rows = np.exp(logs - logs.max(axis=1, keepdims=True))
    return rows / rows.sum(axis=1, keepdims=True)


def gamma(random: CounterRandom, indices: NDArray[np.int64], shape: float) -> NDArray[np.float64]:
    """Return ``(N,)`` gamma variates of ``shape`` >= 1, by Marsaglia & Tsang (2000).

    A candidate d w^3 with w = 1 + x / sqrt(9 d), x normal and d = shape - 1/3, is accepted if w > 0 and
    ln u < x^2 / 2 + d (1 - w^3 + 3 ln w). More than 95 % are accepted; all PROPOSALS fail with probability 1e-31.
    """
    d = shape - 1 / 3
    x = random.child("normal").normal(indices, PROPOSALS)
    u = 1.0 - random.child("uniform").uniform(indices, PROPOSALS)
    w = (1 + x / np.sqrt(9 * d)).clip(1e-30)  # what is clipped is not good: 3 ln w is -207
    good = np.log(u) < x**2 / 2 + d * (1 - w**3 + 3 * np.log(w))
    return d * w[np.arange(len(indices)), good.argmax(axis=1)] ** 3


def safe_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln of values, and 0 for 0, so that impossible events do not contribute to an entropy."""
    return np.log(values, out=np.zeros_like(values), where=values > 0)
