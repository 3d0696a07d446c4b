"""Scores of panels: means over series, each in units of its own, and relative to Naive2 as in the M4 competition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cellstate.data.cutting import Windows
from cellstate.data.references import References

ROUNDING = 1e-12  # of the largest value, up to which an error counts as 0


class PanelScores:
    """Scores the forecasts of the windows of a split as the M4 competition does.

    The scale of mase is that of each series' own rows before the split; of a single series that of its training rows.
    """

    def __init__(self, windows: Windows, references: References) -> None:
        self.windows, self.references = windows, references
        self._scales: dict[str, np.ndarray] = {}
        self._naive2: dict[tuple[str, int], dict[str, float]] = {}

    def scored(
        self, split: str, forecasts: np.ndarray, truth: np.ndarray, chosen: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return smape, mase, owa and mase_pooled of several series, of a single one owa.

        Args:
            split: whose windows were forecast.
            forecasts: ``(M, horizon, C)``, in the units of the data.
            truth: likewise.
            chosen: ``(M,)`` the indices of the windows; None: the first M.
        """
        places = np.arange(len(truth)) if chosen is None else chosen
        means = self._means(split, forecasts, truth, places)
        naive2 = self._naive2.get((split, len(truth))) if chosen is None else None
        if naive2 is None:
            naive2 = self._of_naive2(split, places)
        if chosen is None:
            self._naive2[split, len(truth)] = naive2
        owa, spec = relative(means, naive2), self.references.spec
        if not self.windows.series.several:
            return owa
        error = np.abs(forecasts - truth)
        pooled = {"mase_pooled": float(np.mean(error / np.asarray(spec.naive_error)))} if spec.naive_error else {}
        return {**means, **owa, **pooled}

    def _means(self, split: str, forecasts: np.ndarray, truth: np.ndarray, places: np.ndarray) -> dict[str, float]:
        return means_over_series(forecasts, truth, self.windows.owners(split)[places], self.scales(split))

    def _of_naive2(self, split: str, places: np.ndarray) -> dict[str, float]:
        # Against the series itself: the truth of a model's scores went through single precision.
        windows, horizon = self.windows, self.references.spec.horizon
        truth = windows.series.values[windows.starts(split)[places, None] + np.arange(horizon)]
        return self._means(split, self.references.naive2(split, places), truth, places)

    def scales(self, split: str) -> np.ndarray:
        """Return the scale of mase of each series, ``(S, C)``."""
        if split not in self._scales:
            history = self.windows.before(split) if self.windows.series.several else self.windows.training
            self._scales[split] = series_scales(history, self.references.spec.season)
        return self._scales[split]


def series_scales(history: Sequence[np.ndarray], season: int) -> np.ndarray:
    """Return mean |y_t - y_(t - season)| of each series ``(N_i, C)``, ``(S, C)``: its own scale of mase.

    0 for a series that repeats exactly from season to season, or that is no longer than one.
    """
    scales = np.zeros((len(history), history[0].shape[1]))
    for place, values in enumerate(history):
        if len(values) > season:
            errors = np.abs(values[season:] - values[:-season]).mean(axis=0)
            scales[place] = np.where(errors > ROUNDING * np.abs(values).max(axis=0), errors, 0)
    return scales


def means_over_series(
    forecasts: np.ndarray, truth: np.ndarray, owners: np.ndarray, scales: np.ndarray
) -> dict[str, float]:
    """Return smape and mase, each the mean over series of the mean over their windows, steps and columns.

    smape is that of 200 |e| / (|forecast| + |truth|), in per cent (0 where both are 0); mase that of |e| / q, where q
    are the ``scales`` of the series. Series with scale 0 are left out of mase, which is missing if that leaves none.

    Args:
        forecasts: ``(M, horizon, C)``, in the units of the data.
        truth: likewise.
        owners: ``(M,)`` the series of each window, of which some may have none.
        scales: ``(S, C)``.
    """
    error, size = np.abs(forecasts - truth), np.abs(forecasts) + np.abs(truth)
    counts = np.bincount(owners, minlength=len(scales))
    present = counts > 0

    def by_series(values: np.ndarray) -> np.ndarray:
        return np.bincount(owners, values, len(scales)) / np.maximum(counts, 1)

    symmetric = (200 * error / np.where(size == 0, 1, size)).mean(axis=(1, 2))
    scores = {"smape": float(by_series(symmetric)[present].mean())}
    own = np.stack([by_series(column) for column in error.mean(axis=1).T], axis=1)  # (S, C)
    scaled = present[:, None] & (scales > 0)
    if scaled.any():
        columns = np.where(scaled, own / np.where(scaled, scales, 1), 0)
        several = scaled.sum(axis=1)
        scores["mase"] = float((columns.sum(axis=1)[several > 0] / several[several > 0]).mean())
    return scores


def relative(scores: dict[str, float], naive2: dict[str, float]) -> dict[str, float]:
    """Return owa = (smape / smape of Naive2 + mase / mase of Naive2) / 2; empty if one of them is missing or 0."""
    metrics = ("smape", "mase")
    if any(not naive2.get(metric) or metric not in scores for metric in metrics):
        return {}
    return {"owa": sum(scores[metric] / naive2[metric] for metric in metrics) / len(metrics)}
