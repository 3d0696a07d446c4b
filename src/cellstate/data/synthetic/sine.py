"""Noisy sine waves of random frequency and phase: predict the next values."""

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

GRID = 8  # scanned frequencies per 1 / steps, about the width of a spectral peak
REFINEMENTS = 20  # Gauss-Newton steps at most; five or so suffice
SETTLED = 1e-13  # radians per step: change of w at convergence
RIDGE = 1e-13  # share of the diagonal added to it, for fits with fewer steps than unknowns


class Waves(NamedTuple):
    """Noisy waves and their components, each ``(N, steps)``: ``values = signal + noise``."""

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

    f is uniform in ``frequencies``, in cycles per step; a is uniform in ``amplitudes``; p is uniform in [0, 2 pi); and
    ``e_t ~ N(0, noise^2)`` is independent. A wave is a pure function of its index and the keyword arguments, and a
    longer one starts with the shorter. Splits draw from independent streams. RequestError (with all problems) if the
    parameters are invalid.
    """
    problems = []
    if not 0 < frequencies[0] <= frequencies[1] < 0.5:
        problems.append(
            f"data.frequencies={list(frequencies)}: give the lowest and highest frequency in cycles per step, above "
            "0 and below 0.5 (the Nyquist frequency)"
        )
    if not 0 < amplitudes[0] <= amplitudes[1]:
        problems.append(f"data.amplitudes={list(amplitudes)}: give the lowest and highest amplitude, above 0")
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

    The targets are noisy observations.

    Args:
        window: input steps.
        horizon: steps to predict after the window.
        frequencies: lowest and highest, in cycles per step, above 0 and below 0.5.
        amplitudes: lowest and highest.
        noise: standard deviation of the white noise.

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
        """Return the waves of a split (for training: of the first epoch), ``(N, window + horizon)``."""
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
        """The noise floor: the expected score of a predictor that knows the clean wave.

        No predictor does better (``expected_floor``), and one that sees only a window does worse, as it has to estimate
        the wave. From W steps with noise of deviation s, unbiased estimates of the amplitude and the phase at the end
        of the window have at least the variances (Rife & Boorstyn 1974, for many steps, frequencies far from 0 and 1/2)

            var(a) = 2 s^2 / W,   var(phase at the end) = 8 s^2 / (a^2 W).

        The error of the next value is da sin(phase) + a dphase cos(phase), on average over the phase with the variance
        (2 + 8) / 2 s^2 / W = 5 s^2 / W: an rmse of s sqrt(1 + 5 / W), 4.9 % above the floor for a window of 50.
        (With known amplitudes 4 replaces 5.) The reference ``sine_fit`` shows what is reached.
        """
        return self.with_scaled(expected_floor(self.noise))

    def optimum_realised(self) -> Scores:
        """The score of the predictor that knows the clean wave for the noise in the reported targets."""
        noise = self.waves(self.reported_split).noise[:, self.window :]
        floor = realised_floor(noise.ravel(), np.arange(0, noise.size, self.horizon), self.horizon)
        std = np.asarray(self.spec.std)
        scaled = noise / std
        return {**floor, "mae_scaled": float(np.mean(np.abs(scaled))), "mse_scaled": float(np.mean(scaled**2))}

    @override
    def predictions(self) -> dict[str, Floats]:
        """``last_value`` repeats the last value; ``sine_fit`` extrapolates the best-fitting wave."""
        windows = self.waves(self.reported_split).values[:, : self.window]
        return {"last_value": windows[:, -1:], "sine_fit": fitted_sine(windows, self.horizon, self.frequencies)}


def fitted_sine(windows: ArrayLike, horizon: int, frequencies: Sequence[float]) -> Floats:
    """Extrapolate, ``(N, horizon)``, the least-squares wave ``c cos wt + s sin wt`` of each of ``windows (N, W)``.

    This is the maximum-likelihood estimate for white normal noise. For a given w, c and s solve a linear problem, so
    the squared error is a function of w, with a global minimum about 1 / W cycles wide and local ones around it: w is
    scanned on a grid over ``frequencies`` (cycles per step), and refined from its best point, together with c and s, by
    Gauss-Newton steps that stay within one grid step.
    """
    windows = np.asarray(windows, np.float64)
    count, steps = windows.shape
    low, high = (2 * np.pi * frequency for frequency in frequencies)
    grid = np.linspace(low, high, 1 + math.ceil((high - low) / (2 * np.pi) * GRID * steps))
    gap = grid[1] - grid[0] if len(grid) > 1 else 0.0
    time = np.arange(steps + horizon) - steps + 1.0  # 0 at the last step of the window
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
    """Return the weights ``(N, K)`` of the least-squares fit of ``basis (N, W, K)`` on ``values (N, W)``."""
    gram = np.einsum("ntj,ntk->njk", basis, basis)
    diagonal = np.einsum("nkk->nk", gram)  # a view
    diagonal += RIDGE * np.maximum(diagonal.sum(axis=1, keepdims=True), 1.0)
    return np.linalg.solve(gram, np.einsum("ntk,nt->nk", basis, values)[..., None])[..., 0]


def _scan(values: Floats, time: Floats, grid: Floats) -> NDArray[np.int64]:
    """Return the index in ``grid (G,)`` of the best fit to each row of ``values (N, W)``.

    With B (W, 2) the basis at w and x a row, the fit leaves |x|^2 - x'B (B'B)^-1 B'x. With the
    Cholesky factor L of B'B, the explained part is the squared length of L^-1 B'x.
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
