"""Labelled sequences read from a file: values, classes, and the lines they come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cellstate.data.samples import TensorSamples
from cellstate.errors import RequestError


@dataclass(frozen=True)
class Sequences:
    """N sequences of F features with S steps in total, unscaled; NaN where a value is missing."""

    values: NDArray[np.float64]  # (S, F), one sequence after the other
    lengths: NDArray[np.int64]  # (N,)
    labels: tuple[str, ...]  # (N,) the class of each sequence
    line: Callable[[int], str]  # position of a step in the file, such as ``line 12``
    source: str  # the file as given by the user
    names: tuple[str, ...] = ()  # of the features, if they have names
    declared: tuple[str, ...] = ()  # the classes that the file declares, if it does
    steps: tuple[str, ...] = ()  # columns that only count the steps, and are no features

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[NDArray[np.float64]],
        labels: Sequence[str],
        lines: Sequence[int],
        source: str,
        declared: Sequence[str] = (),
    ) -> Sequences:
        """Join sequences ``(T, F)`` of one line each."""
        lengths = np.array([len(row) for row in rows], np.int64)
        ends = np.cumsum(lengths)

        def line(step: int) -> str:
            return f"line {lines[int(np.searchsorted(ends, step, side='right'))]}"

        return cls(np.concatenate(rows), lengths, tuple(labels), line, source, declared=tuple(declared))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def ends(self) -> NDArray[np.int64]:
        """The step after the last of each sequence, ``(N,)``."""
        return np.cumsum(self.lengths)

    def place(self, step: int) -> str:
        """Return the position of a step, such as ``walks.csv, line 12``."""
        return f"{self.source}, {self.line(step)}"

    def feature(self, number: int) -> str:
        """Return the name of a feature for messages."""
        return f"column {self.names[number]!r}" if self.names else f"dimension {number + 1}"

    def complete(self, *, fill: bool) -> Sequences:
        """Return the same sequences without missing values.

        With ``fill``, a missing value repeats the last value before it in its sequence and feature, or at the start the
        first value after it.

        Raises:
            RequestError: there are missing values and ``fill`` is off, or a sequence has no value of a feature.
        """
        missing = np.isnan(self.values)
        if not missing.any():
            return self
        if not fill:
            step, feature = np.argwhere(missing)[0]
            raise RequestError(
                f"{self.place(step)}: {self.feature(feature)} has no value ({missing.sum():,} values of the file are "
                "missing); fix the file, or data.missing=fill repeats the last value before them"
            )
        first, last = np.repeat(self.ends - self.lengths, self.lengths), np.repeat(self.ends - 1, self.lengths)
        steps = np.arange(len(self.values))
        values = np.empty_like(self.values)
        for feature, gone in enumerate(missing.T):
            before = np.maximum.accumulate(np.where(gone, -1, steps))
            after = np.minimum.accumulate(np.where(gone, len(steps), steps)[::-1])[::-1]
            source = np.where(before < first, after, before)
            empty = np.flatnonzero(source > last)
            if len(empty):
                raise RequestError(
                    f"{self.place(empty[0])}: {self.feature(feature)} has no value in the entire sequence; fix the "
                    "file, or remove the sequence"
                )
            values[:, feature] = self.values[source, feature]
        return replace(self, values=values)

    def moments(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation ``(F,)`` over all steps of the chosen sequences (1 if constant)."""
        steps = np.isin(np.repeat(np.arange(len(self)), self.lengths), chosen)
        mean, std = self.values[steps].mean(0), self.values[steps].std(0)
        # Rounding leaves a constant feature with a tiny deviation, which must not be scaled up to 1.
        return mean, np.where(std > 1e-12 * np.abs(mean), std, 1.0)

    def samples(
        self,
        chosen: NDArray[np.int64],
        classes: Sequence[str],
        mean: NDArray[np.float64],
        std: NDArray[np.float64],
    ) -> TensorSamples:
        """Return the chosen sequences, scaled to ``(values - mean) / std`` and right-padded with 0."""
        lengths = self.lengths[chosen]
        grid = np.arange(lengths.max(initial=1))
        valid = grid < lengths[:, None]  # (n, T)
        steps = (self.ends - self.lengths)[chosen, None] + grid
        inputs = np.zeros((*valid.shape, self.values.shape[1]), np.float32)
        inputs[valid] = (self.values[steps[valid]] - mean) / std
        number = {label: place for place, label in enumerate(classes)}
        targets = torch.tensor([number[self.labels[row]] for row in chosen], dtype=torch.long)
        ragged = None if valid.all() else torch.from_numpy(lengths)
        return TensorSamples(torch.from_numpy(inputs), targets, ragged)
