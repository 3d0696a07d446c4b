"""Noisy sine waves of random frequency and phase: predict what comes next, beside a fit and the noise floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from typing_extensions import override

from cellstate.config.types import Length, NonNegativeFloat, PositiveInt
from cellstate.data.datamodule import Scores
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.floor import expected_floor, realised_floor
from cellstate.data.synthetic.generated import check_request
from cellstate.data.synthetic.randomness import CounterRandom, as_counters, row_blocks
from cellstate.data.synthetic.regression import GeneratedRegression

Range = Annotated[Sequence[float], Field(min_length=2, max_length=2)]
Floats = NDArray[np.float64]

GRID = 8  # frequencies of the scan in 1 / steps: a peak of the spectrum, about that wide, is met at an eighth of it
REFINEMENTS = 20  # Gauss-Newton steps at most; five or so suffice
SETTLED = 1e-13  # radians a step: a change of w below which no step is worth another
RIDGE = 1e-13  # share of the diagonal added to it, so that fewer steps than unknowns have a fit too


class Waves(NamedTuple):
    """Noisy waves and what they are made of, each ``(N, steps)``: ``values = signal + noise``."""

    values: Floats
    signal: Floats
    noise: Floats


def sine_waves(
    indices: ArrayLike | Sequence[int],
    *,
    seed: int,
    split: str,
    steps: int,
    frequencies: Sequence[float] = (0.02, 0.1),
    amplitudes: Sequence[float] = (1.0, 1.0),
    noise: float = 0.1,
) -> Waves:
    """Return ``x_t = a sin(2 pi f t + p) + e_t`` for t = 0 … steps - 1, with f, a and p drawn for each wave.

    f is uniform in ``frequencies``, in cycles a step; a is uniform in ``amplitudes``; p is uniform in [0, 2 pi); and
    ``e_t ~ N(0, noise^2)`` is drawn for each step by itself. A wave is a pure function of its index and the keyword
    arguments, and a longer one begins with the shorter. Splits draw from independent streams. RequestError (all
    problems at once) where the parameters describe no wave.
    """
    problems = []
    if not 0 < frequencies[0] <= frequencies[1] < 0.5:
        problems.append(
            f"data.frequencies={list(frequencies)}: give the least and the greatest frequency in cycles a step, above "
            "0 and below 0.5, from which on steps are too coarse to show a wave"
        )
    if not 0 < amplitudes[0] <= amplitudes[1]:
        problems.append(f"data.amplitudes={list(amplitudes)}: give the least and the greatest amplitude, above 0")
    check_request(split, problems)
    counters = as_counters(indices)
    random = CounterRandom("sine", seed, split)
    share = random.child("waves").uniform(counters, 3)
    frequency, amplitude = (
        low + (high - low) * share[:, [column]] for column, (low, high) in enumerate((frequencies, amplitudes))
    )
    signal = amplitude * np.sin(2 * np.pi * (frequency * np.arange(steps) + share[:, [2]]))
    drawn = noise * random.child("noise").normal(counters, steps)
    return Waves(signal + drawn, signal, drawn)


class SineData(GeneratedRegression):
    """Noisy sine waves of random frequency and phase: what is the next value?

    The targets are values as observed, with their noise.

    Args:
        window: steps that the model sees.
        horizon: steps to predict, those right after the window.
        frequencies: the least and the greatest, in cycles a step, above 0 and below 0.5.
        amplitudes: the least and the greatest.
        noise: standard deviation of the white noise on every step.

    The other arguments are those of ``GeneratedData``.
    """

    def __init__(
        self,
        *,
        window: Length = 50,
        horizon: Length = 1,
        frequencies: Range = (0.02, 0.1),
        amplitudes: Range = (1.0, 1.0),
        noise: NonNegativeFloat = 0.1,
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
        self.window, self.horizon, self.noise = window, horizon, noise
        self.frequencies, self.amplitudes = tuple(frequencies), tuple(amplitudes)

    @override
    def longest(self) -> int:
        return self.window + self.horizon

    @override
    def question(self) -> str:
        after = "the next value" if self.horizon == 1 else f"the next {self.horizon} values"
        return f"{self.window} steps of a noisy sine wave, what {'is' if self.horizon == 1 else 'are'} {after}?"

    @override
    def target_names(self) -> tuple[str, ...]:
        return tuple(f"{step} step{'s' if step > 1 else ''} ahead" for step in range(1, self.horizon + 1))

    @override
    def draw(self, split: str, indices: NDArray[np.int64]) -> TensorSamples:
        values = self._waves(split, indices).values
        inputs = torch.from_numpy(values[:, : self.window]).float().unsqueeze(-1)
        return TensorSamples(inputs, torch.from_numpy(values[:, self.window :]))

    def waves(self, split: str) -> Waves:
        """Return the waves of a split (in training: of its first epoch), ``(N, window + horizon)``, as drawn."""
        return self._waves(split, np.arange(len(self.samples(split))))

    def _waves(self, split: str, indices: NDArray[np.int64]) -> Waves:
        return sine_waves(
            indices,
            seed=self.seed,
            split=split,
            steps=self.window + self.horizon,
            frequencies=self.frequencies,
            amplitudes=self.amplitudes,
            noise=self.noise,
        )

    def optimum(self) -> Scores:
        """The noise floor: what a predictor can expect that knows the clean wave, hence every a, f and p.

        No predictor does better (``expected_floor``), and none that sees a window does as well: it has to estimate the
        wave. From W steps with noise of deviation s, an unbiased estimate of amplitude and of phase at the window's end
        has at least the variances (Rife & Boorstyn 1974, for many steps, frequencies far from 0 and 1/2)

            var(a) = 2 s^2 / W,   var(phase at the end) = 8 s^2 / (a^2 W).

        The next value is then off by da sin(phase) + a dphase cos(phase), on average over the phase with the variance
        (2 + 8) / 2 s^2 / W = 5 s^2 / W: an rmse of s sqrt(1 + 5 / W), 4.9 % above the floor for a window of 50.
        (Who knows that all amplitudes are 1 has 4 for 5.) The reference ``sine_fit`` shows what is reached.
        """
        return self.with_scaled(expected_floor(self.noise))

    def optimum_realised(self) -> Scores:
        """The score of the predictor that knows the clean wave on the noise in the targets of the reported split."""
        noise = self.waves(self.reported_split).noise[:, self.window :]
        floor = realised_floor(noise.ravel(), np.arange(0, noise.size, self.horizon), self.horizon)
        std = np.asarray(self.spec.std)
        scaled = noise / std
        return {**floor, "mae_scaled": float(np.mean(np.abs(scaled))), "mse_scaled": float(np.mean(scaled**2))}

    @override
    def predictions(self) -> dict[str, Floats]:
        """``last_value`` repeats the window's last; ``sine_fit`` carries on the wave that fits the window best."""
        windows = self.waves(self.reported_split).values[:, : self.window]
        return {"last_value": windows[:, -1:], "sine_fit": fitted_sine(windows, self.horizon, self.frequencies)}


def fitted_sine(windows: ArrayLike, horizon: int, frequencies: Sequence[float]) -> Floats:
    """Carry on, ``(N, horizon)``, the wave ``c cos wt + s sin wt`` of least squares on each of ``windows (N, W)``.

    This is the maximum-likelihood estimate for white normal noise. For a given w, c and s solve a linear problem, so
    the squared error is a function of w alone, with a minimum about 1 / W cycles wide and others beside it: w is
    scanned on a grid over ``frequencies`` (cycles a step), and from its best place refined, together with c and s, by
    Gauss-Newton steps that stay beside that place.
    """
    windows = np.asarray(windows, np.float64)
    count, steps = windows.shape
    low, high = (2 * np.pi * frequency for frequency in frequencies)
    grid = np.linspace(low, high, 1 + math.ceil((high - low) / (2 * np.pi) * GRID * steps))
    gap = grid[1] - grid[0] if len(grid) > 1 else 0.0
    time = np.arange(steps + horizon) - steps + 1.0  # 0 is the window's last step
    forecasts = np.empty((count, horizon))
    for rows in row_blocks(count, max(len(grid), 10 * steps)):
        part = windows[rows]
        place = grid[_scan(part, time[:steps], grid)]
        bounds = np.maximum(place - gap, low), np.minimum(place + gap, high)
        w, weights = _refined(part, time[:steps], place, bounds)
        forecasts[rows] = _wave(_basis(w, time[steps:]), weights)
    return forecasts


def _basis(w: Floats, time: Floats) -> Floats:
    """Return ``cos wt`` and ``sin wt``, ``(..., W, 2)``, for ``w (...)``."""
    angle = w[..., None] * time
    return np.stack((np.cos(angle), np.sin(angle)), axis=-1)


def _wave(basis: Floats, weights: Floats) -> Floats:
    return np.einsum("ntk,nk->nt", basis, weights)


def _solved(basis: Floats, values: Floats) -> Floats:
    """Return the weights ``(N, K)`` of least squared error of ``basis (N, W, K)`` on ``values (N, W)``."""
    gram = np.einsum("ntj,ntk->njk", basis, basis)
    diagonal = np.einsum("nkk->nk", gram)  # a view
    diagonal += RIDGE * np.maximum(diagonal.sum(axis=1, keepdims=True), 1.0)
    return np.linalg.solve(gram, np.einsum("ntk,nt->nk", basis, values)[..., None])[..., 0]


def _scan(values: Floats, time: Floats, grid: Floats) -> NDArray[np.int64]:
    """Return the place in ``grid (G,)`` of the best fit of each row of ``values (N, W)``.

    With B (W, 2) the basis at w and x a row, the fit leaves |x|^2 - x'B (B'B)^-1 B'x. The inverse is a Cholesky factor,
    so that the explained part is the squared length of L^-1 B'x.
    """
    basis = _basis(grid, time)  # (G, W, 2)
    gram = np.einsum("gtj,gtk->gjk", basis, basis)
    gram[:, range(2), range(2)] += RIDGE * len(time)
    whitened = np.linalg.solve(np.linalg.cholesky(gram), basis.transpose(0, 2, 1))  # (G, 2, W)
    explained = sum((values @ whitened[:, part].T) ** 2 for part in range(2))
    return np.argmax(explained, axis=1)


def _refined(values: Floats, time: Floats, w: Floats, bounds: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Return ``w (N,)`` within ``bounds`` and the weights ``(N, 2)`` of the best fit, starting from ``w``.

    With y = c cos wt + s sin wt, the columns of the Jacobian are cos wt, sin wt and dy/dw = t (s cos wt - c sin wt).
    """
    for _ in range(REFINEMENTS):
        basis = _basis(w, time)
        weights = _solved(basis, values)
        slope = time * _wave(basis, np.stack((weights[:, 1], -weights[:, 0]), axis=1))
        jacobian = np.concatenate((basis, slope[..., None]), axis=-1)
        step = _solved(jacobian, values - _wave(basis, weights))[:, 2]
        before, w = w, np.clip(w + step, *bounds)
        if np.abs(w - before).max(initial=0.0) < SETTLED:
            break
    return w, _solved(_basis(w, time), values)
