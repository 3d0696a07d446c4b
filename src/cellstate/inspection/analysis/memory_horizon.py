"""How far back a network remembers, and how far back its predictions depend on the input.

Three curves over the delay k, each summarised by its half-memory length:

- ``recall``: how well a linear readout of the state at t predicts x_{t-k}; accuracy for symbols, R^2 for numbers, on
  sequences that it was not fitted on. For numbers it is the memory function of Jaeger ("Short term memory in echo
  state networks", 2001). It measures the information that is *present*.
- ``prediction_recall``: how often the prediction at t *is* the symbol at t - k; needs no probe.
- ``influence``: how much the prediction changes when x_{t-k} is replaced by that of another sequence, as a
  Kullback-Leibler divergence. It measures the information that is *used*.

**Half-memory length**: the longest delay at which at least half of the curve's peak is left, both above chance. Between
two measured delays the part above chance is interpolated exponentially: exact for a curve that decays as a^k, and N - 1
for a register of the newest N inputs (delays 0 ... N - 1), as values within chance count as 0. ``MemoryCurve.line`` is
the interpolated curve. The interval is from a bootstrap over sequences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cellstate.inspection.analysis.readout import LinearReadouts, majority_scores

Divergence = Callable[[Tensor, Tensor], Tensor]
DRAWS = 500  # of the bootstrap
SHUFFLES = 40  # of the sequences, to estimate chance
LEVEL = 0.95
RIDGE = 1e-6  # penalty of the readouts, relative to the variance of the states


@dataclass(frozen=True)
class HalfMemory:
    """The half-memory length, in steps, and its interval; None if no delay is above chance.

    ``censored``: at least half of the peak is left at the longest delay, so that this is a lower bound.
    """

    steps: float | None
    low: float | None
    high: float | None
    censored: bool


@dataclass(frozen=True)
class MemoryCurve:
    """A measure of memory against delay: ``sum of gains / sum of weights`` over sequences."""

    what: str  # accuracy, R^2 or KL (nats)
    lags: np.ndarray  # (K,), delays in steps, increasing
    gains: np.ndarray  # (N, K), of each sequence
    weights: np.ndarray  # (N, K)
    chance: np.ndarray  # (K,), expected value without memory
    chance_high: float  # bound on the excess over chance, at all delays, in 95 of 100 cases without memory

    @property
    def values(self) -> np.ndarray:
        """The measure at each delay, ``(K,)``; NaN if no sequence is long enough."""
        return _ratio(self.gains.sum(0), self.weights.sum(0))

    @property
    def above_chance(self) -> np.ndarray:
        """The measure minus chance, 0 where not significant, ``(K,)``."""
        return _above(self.values, self.chance, self.chance_high)

    @property
    def within_chance(self) -> bool:
        """Whether no delay is significantly above chance."""
        return not self.above_chance.any()

    def interval(self, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds of ``values`` by a bootstrap over sequences, ``(K,)`` each."""
        tail = (1 - level) / 2
        low, high = np.nanquantile(self._draws(), [tail, 1 - tail], axis=0)
        return low, high

    def half_memory(self) -> HalfMemory:
        """Return the half-memory length and its interval."""
        steps = half_length(self.lags, self.above_chance)
        if steps is None:
            return HalfMemory(None, None, None, censored=False)
        drawn = [half_length(self.lags, _above(one, self.chance, self.chance_high)) or 0.0 for one in self._draws()]
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail])
        return HalfMemory(steps, float(low), float(high), censored=bool(steps >= self.lags[-1]))

    def line(self, points: int = 24) -> tuple[np.ndarray, np.ndarray]:
        """Return delays and values of the interpolated curve, on which the half-memory length is defined.

        With a above chance at one delay and b at the next, it is ``a^(1 - s) b^s`` above chance at a share s of the
        way. If one of the two is not above chance, the curve is a step: it drops right after the last delay that is,
        and rises right before the first.
        """
        values, above = self.values, self.above_chance
        shares = np.linspace(0, 1, points + 1)[1:]
        lags, found = [self.lags[:1]], [values[:1]]
        for at in range(len(self.lags) - 1):
            (start, end), (here, there) = self.lags[at : at + 2], values[at : at + 2]
            if above[at] > 0 and above[at + 1] > 0:
                chance = self.chance[at] + shares * (self.chance[at + 1] - self.chance[at])
                lags.append(start + shares * (end - start))
                found.append(chance + above[at] ** (1 - shares) * above[at + 1] ** shares)
            elif above[at] > 0:
                lags.append(np.array([start, end]))
                found.append(np.array([there, there]))
            elif above[at + 1] > 0:
                lags.append(np.array([end, end]))
                found.append(np.array([here, there]))
            else:
                lags.append(np.array([end]))
                found.append(np.array([there]))
        return np.concatenate(lags).astype(float), np.concatenate(found)

    def half_level(self, steps: float) -> float:
        """Return the value of the curve at its half-memory length: chance plus half of the peak above it."""
        chance = float(np.interp(steps, self.lags, self.chance))
        return chance + float(self.above_chance.max()) / 2

    def _draws(self) -> np.ndarray:
        """Return the measure of bootstrap samples of the sequences, ``(DRAWS, K)``."""
        count = len(self.gains)
        times = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=DRAWS)
        return _ratio(times @ self.gains, times @ self.weights)


def half_length(lags: np.ndarray, remembered: np.ndarray) -> float | None:
    """Return the longest delay at which half of the peak is left; None if all values are 0.

    The logarithm is interpolated linearly: with ``a`` at one delay and ``b`` at the next, half of the peak p is reached
    at a share ``log(2 a / p) / log(a / b)`` of the way.
    """
    remembered = np.nan_to_num(remembered)
    half = remembered.max(initial=0.0) / 2
    if half <= 0:
        return None
    last = int(np.flatnonzero(remembered >= half * (1 - 1e-9))[-1])
    if last == len(lags) - 1:
        return float(lags[last])
    here, there = remembered[last], remembered[last + 1]
    share = 0.0 if there <= 0 else math.log(here / half) / math.log(here / there)
    return float(lags[last] + max(0.0, share) * (lags[last + 1] - lags[last]))


def default_lags(steps: int, most: int = 32) -> list[int]:
    """Return up to ``most`` delays from 0 to ``steps - 1``: all of them, or geometrically spaced."""
    if steps <= most:
        return list(range(steps))
    return sorted({round(lag) for lag in np.geomspace(1, steps, most + 8) - 1})


# ---------------------------------------------------------------------- recall


def recall(
    states: Tensor,
    items: Tensor,
    lags: Sequence[int] | None = None,
    *,
    valid: Tensor | None = None,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> MemoryCurve:
    """Return how well the input ``k`` steps before is predicted from the state, by a linear readout for each delay.

    The readouts are fitted on half of the sequences, drawn with ``seed``, and scored on the others. They are ridge
    regressions on standardised states; for symbols, on one-hot targets, of which the largest is the prediction.

    Args:
        states: ``(B, T, D)``, such as the outputs of a backbone, or h and c of a layer concatenated.
        items: to recall, ``(B, T)`` integer symbols, or ``(B, T)`` or ``(B, T, F)`` numbers.
        lags: delays, in steps; None: ``default_lags`` of half of T.
        valid: ``(B, T)`` bool, steps to use; None: all. Exclude first steps in which states still rise from zero, as
            their correlation with time is not memory.

        shuffles: number of shuffles of the sequences to estimate chance.
        seed: of the split into halves and of the shuffles.

    Raises:
        ValueError: fewer than 4 sequences, or a delay that is too long.
    """
    rows, steps, _ = states.shape
    delays = sorted(default_lags(steps // 2) if lags is None else lags)
    if rows < 4:
        raise ValueError(f"recall needs at least 4 sequences, half of them for fitting, got {rows}")
    if delays[0] < 0 or delays[-1] >= steps:
        raise ValueError(f"delays must be from 0 to {steps - 1} in sequences of {steps} steps, got {delays}")
    symbols = not items.is_floating_point()
    targets = (torch.nn.functional.one_hot(items.long()) if symbols else items).double().reshape(rows, steps, -1)
    counts = torch.ones(rows, steps, dtype=torch.bool, device=states.device) if valid is None else valid
    used = counts.clone()
    used[:, : delays[-1]] = False  # the same steps for all delays
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(rows, generator=generator).to(states.device)
    fitting, testing = order[: rows // 2], order[rows // 2 :]
    probe = LinearReadouts(states, used, fitting, testing, RIDGE)
    gains, weights = probe.scores(targets, delays, symbols)
    shuffled = []
    for _ in range(shuffles):  # each sequence gets the targets of another one
        fake = targets.clone()
        for part in (fitting, testing):
            fake[part] = targets[part[torch.randperm(len(part), generator=generator).to(part.device)]]
        shuffled.append(_ratio(*(part.sum(0) for part in probe.scores(fake, delays, symbols))))
    chance = majority_scores(targets, used, fitting, testing, delays) if symbols else np.zeros(len(delays))
    above = max(0.0, float(np.quantile((np.stack(shuffled) - chance).max(1), LEVEL)))
    return MemoryCurve("accuracy" if symbols else "R^2", np.array(delays), gains, weights, chance, above)


def prediction_recall(
    predicted: Tensor, items: Tensor, lags: Sequence[int], *, valid: Tensor | None = None, seed: int = 0
) -> MemoryCurve:
    """Return how often the prediction at t is the symbol at t - k, over all sequences.

    Chance is the agreement of the predictions with the symbols of other sequences.

    Args:
        predicted: ``(B, T)``, integer symbols, such as the most likely one at each step.
        items: ``(B, T)``, the input symbols.
        lags: delays, in steps.
        valid: ``(B, T)`` bool, steps whose predictions count; None: all.
        seed: of the shuffles to estimate chance.

    Raises:
        ValueError: fewer than 2 sequences, or a delay that is too long.
    """
    rows, steps = items.shape
    delays = sorted(lags)
    if rows < 2:
        raise ValueError("at least 2 sequences are needed, as chance is estimated from the symbols of others")
    if delays[0] < 0 or delays[-1] >= steps:
        raise ValueError(f"delays must be from 0 to {steps - 1} in sequences of {steps} steps, got {delays}")
    counts = torch.ones_like(items, dtype=torch.bool) if valid is None else valid

    def scores(symbols: Tensor) -> tuple[np.ndarray, np.ndarray]:
        hits, weights = [], []
        for lag in delays:
            used = counts[:, lag:]
            hits.append(((predicted[:, lag:] == symbols[:, : steps - lag]) & used).sum(1))
            weights.append(used.sum(1))
        return torch.stack(hits, 1).double().cpu().numpy(), torch.stack(weights, 1).double().cpu().numpy()

    generator = torch.Generator().manual_seed(seed)
    shuffled = np.stack(
        [
            _ratio(*(part.sum(0) for part in scores(items[_derangement(rows, generator).to(items.device)])))
            for _ in range(SHUFFLES)
        ]
    )
    chance = shuffled.mean(0)
    above = float(np.quantile((shuffled - chance).max(1), LEVEL))
    return MemoryCurve("accuracy", np.array(delays), *scores(items), chance, max(0.0, above))


# ---------------------------------------------------------------------- influence


@torch.no_grad()
def influence(
    predict: Callable[[Tensor], Tensor],
    inputs: Tensor,
    lags: Sequence[int] | None = None,
    *,
    divergence: Divergence | None = None,
    lengths: Tensor | None = None,
    replacements: int = 1,
    seed: int = 0,
) -> MemoryCurve:
    """Return how much the last prediction changes when the input ``k`` steps before it is replaced.

    The replacement is the input of another sequence at that step, which keeps the marginal distribution.

    Args:
        predict: from inputs to the prediction after each sequence's last step, ``(B, ...)``: logits, or numbers.
        inputs: ``(B, T)`` symbols, or ``(B, T, F)``.
        lags: delays, counted from each sequence's last step, 0; None: ``default_lags`` of T.
        divergence: between two predictions, ``(B, ...)`` each, to ``(B,)``; None: ``categorical_divergence``.
        lengths: valid steps of each row, ``(B,)``; None: all.
        replacements: number of other sequences to take each step from.
        seed: of their choice.

    Raises:
        ValueError: fewer than 2 sequences, or a delay that is too long.
    """
    rows, steps = inputs.shape[:2]
    stops = torch.full((rows,), steps, device=inputs.device) if lengths is None else lengths.to(inputs.device)
    longest = int(stops.max())
    delays = sorted(default_lags(longest) if lags is None else lags)
    if rows < 2:
        raise ValueError("at least 2 sequences are needed, as a step is replaced by that of another one")
    if delays[0] < 0 or delays[-1] >= longest:
        raise ValueError(f"delays must be from 0 to {longest - 1} in sequences of {longest} steps, got {delays}")
    compare = categorical_divergence if divergence is None else divergence
    before = predict(inputs)
    generator, each = torch.Generator().manual_seed(seed), torch.arange(rows, device=inputs.device)
    others = [_derangement(rows, generator).to(inputs.device) for _ in range(replacements)]
    gains, weights = np.zeros((rows, len(delays))), np.zeros((rows, len(delays)))
    for number, lag in enumerate(delays):
        there = stops - 1 - lag
        exists = there >= 0
        for other in others:
            changed = inputs.clone()
            step = there.clamp(min=0)
            found = inputs[other, torch.minimum(step, stops[other] - 1)]
            changed[each[exists], step[exists]] = found[exists]
            distance = compare(before, predict(changed)).double() * exists
            gains[:, number] += distance.cpu().numpy()
            weights[:, number] += exists.double().cpu().numpy()
    return MemoryCurve("KL (nats)", np.array(delays), gains, weights, np.zeros(len(delays)), 0.0)


def categorical_divergence(before: Tensor, after: Tensor) -> Tensor:
    """Return KL(before || after) of categorical distributions given by logits ``(B, V)``, nats, ``(B,)``."""
    first, second = before.double().log_softmax(-1), after.double().log_softmax(-1)
    return (first.exp() * (first - second)).sum(-1)


def point_divergence(before: Tensor, after: Tensor) -> Tensor:
    """Return |before - after|^2 / 2, ``(B,)``: KL of normal distributions of variance 1 around two predictions.

    Values are in units of the training split's standard deviation, as in models' outputs.
    """
    return (before.double() - after.double()).square().reshape(len(before), -1).sum(-1) / 2


def gaussian_divergence(before: Tensor, after: Tensor) -> Tensor:
    """Return KL(before || after) of independent normal distributions, ``(B, ..., 2)`` with mean and std, ``(B,)``."""
    (mean, std), (other, wide) = (part.double().unbind(-1) for part in (before, after))
    parts = (wide / std).log() + (std.square() + (mean - other).square()) / (2 * wide.square()) - 0.5
    return parts.reshape(len(parts), -1).sum(-1)


def divergence_in_words(divergence: Divergence | None) -> str:
    """Return the description of a divergence for a caption."""
    classes = "KL divergence between the class probabilities before and after"
    return {
        None: classes,
        categorical_divergence: classes,
        point_divergence: "half of the squared distance between the predictions before and after, summed over their "
        "values (KL divergence of normal distributions of variance 1)",
        gaussian_divergence: "KL divergence between the predicted normal distributions before and after, summed over "
        "all values",
    }.get(divergence, "the given divergence")


def _derangement(rows: int, generator: torch.Generator) -> Tensor:
    """Return a random permutation of the rows without fixed points."""
    order = torch.randperm(rows, generator=generator)
    result = torch.empty_like(order)
    result[order] = order.roll(1)
    return result


def _ratio(gains: np.ndarray, weights: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weights > 0, gains / weights, np.nan)


def _above(values: np.ndarray, chance: np.ndarray, chance_high: float) -> np.ndarray:
    above = values - chance
    return np.where(above > chance_high, above, 0.0)
