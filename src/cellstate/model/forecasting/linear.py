"""Ridge regression from a window, and its position in the season, to the horizon.

The map is fitted to the normalised windows of the training split and their continuations (``data.ridge``), with the
same penalty s for all steps of the window. For a single series with a season, the harmonics cos and sin of
2 pi k p / season may be added, where p is the position in the season: within one window the shape of a season is as
noisy as the window. The position is estimated from the window, by its correlation with the mean season of the training
split, so that a forecast depends on the window alone. The strength s and the number of harmonics are those with the
smallest absolute error in cross-validation over blocks of time within the training split.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cellstate.data.ridge import STRENGTHS, cross_validated, ridge

HARMONICS = (0, 2, 4)
HARMONIC_STRENGTH = 0.1  # penalty on harmonics, which are few and of known size
LEAST_WINDOWS = 10  # with fewer no map is fitted
FAR = 10.0  # outliers beyond would dominate the squared error; in units of the normalised window


class LinearMap(nn.Module):
    """A linear map from a normalised window ``(N, W)`` to the normalised horizon ``(N, H)``, fitted in closed form.

    It is not trained: its weights are buffers, stored in checkpoints. ``fitted`` is False until ``fit``.

    Args:
        window: input steps W.
        horizon: steps H to forecast.
        season: steps per season, whose harmonics may be used; 1: no harmonics.
    """

    weight: Tensor
    bias: Tensor
    profile: Tensor
    fitted: Tensor

    def __init__(self, window: int, horizon: int, season: int = 1) -> None:
        super().__init__()
        self.season = season if 1 < season <= window else 1
        harmonics = 2 * HARMONICS[-1] if self.season > 1 else 0
        self.register_buffer("weight", torch.zeros(horizon, window + harmonics))
        self.register_buffer("bias", torch.zeros(horizon))
        self.register_buffer("profile", torch.zeros(self.season))  # mean season; zeros: no harmonics
        self.register_buffer("fitted", torch.tensor(False))

    def forward(self, window: Tensor) -> Tensor:
        """Return the forecast ``(N, H)`` from ``window (N, W)``."""
        weight, bias = self.weight.to(window.dtype), self.bias.to(window.dtype)  # fitted in float32, used in any
        return nn.functional.linear(self._features(window), weight, bias)

    def _features(self, window: Tensor) -> Tensor:
        if self.season == 1:
            return window
        angle = 2 * math.pi / self.season * self.place(window).unsqueeze(1)
        angles = angle * torch.arange(1, HARMONICS[-1] + 1, device=window.device)
        waves = torch.stack((angles.cos(), angles.sin()), dim=-1).flatten(1)  # (N, 2 K), wave by wave
        return torch.cat((window, waves.to(window.dtype)), dim=1)

    def place(self, window: Tensor) -> Tensor:
        """Return the position in the season, from 0, of the first step after each window ``(N, W)``."""
        steps = window.shape[1] // self.season * self.season  # whole seasons, at the end
        newest = window[:, window.shape[1] - steps :]
        folded = (newest - newest.mean(1, keepdim=True)).view(len(window), -1, self.season).sum(1)
        shifts = torch.arange(self.season, device=window.device)
        shifted = self.profile.to(window.dtype)[(shifts[:, None] + shifts) % self.season]  # (places, season)
        return (folded @ shifted.T).argmax(1)

    @torch.no_grad()
    def fit(self, windows: Tensor, targets: Tensor, profile: Tensor | None = None, overlap: int | None = None) -> None:
        """Fit the map, and choose its penalty and the number of harmonics.

        Args:
            windows: ``(M, W)`` normalised, in double precision, in order of time.
            targets: ``(M, H)`` their continuations, normalised alike.
            profile: ``(season,)`` the mean season, in units of the windows; None: no harmonics.
            overlap: number of rows after each one with overlapping targets; None: horizon - 1.
        """
        near = (targets.abs() < FAR).all(1)
        windows, targets = windows[near], targets[near]
        if len(windows) < LEAST_WINDOWS:
            return
        if profile is not None and self.season > 1:
            self.profile.copy_(profile)
        features, steps = self._features(windows), windows.shape[1]
        best: tuple[float, int, float] | None = None
        for harmonics in HARMONICS if self.profile.any() else (0,):
            kept = features[:, : steps + 2 * harmonics]
            penalties = [penalty(kept, steps, strength) for strength in STRENGTHS]
            errors = cross_validated(kept, targets, penalties, gap=targets.shape[1] - 1 if overlap is None else overlap)
            error, strength = min(zip(errors, STRENGTHS, strict=True))
            if best is None or error < best[0]:
                best = error, harmonics, strength
        assert best is not None
        _, harmonics, strength = best
        kept = features[:, : steps + 2 * harmonics]
        weight, bias = ridge(kept, targets, penalty(kept, steps, strength))
        self.weight.zero_()
        self.weight[:, : weight.shape[0]] = weight.T.to(self.weight.dtype)
        self.bias.copy_(bias)
        if not harmonics:
            self.profile.zero_()
        self.fitted.fill_(True)


def penalty(features: Tensor, steps: int, strength: float) -> Tensor:
    """Return the penalties ``(F,)``: ``strength`` for the steps of the window, HARMONIC_STRENGTH for the harmonics."""
    strengths = features.new_full((features.shape[1],), HARMONIC_STRENGTH)
    strengths[:steps] = strength
    return strengths
