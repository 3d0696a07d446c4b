"""Splitting: shares, and time series whose rows are split chronologically within each series."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from cellstate.config.types import NonNegativeInt
from cellstate.errors import RequestError

SPLITS = ("train", "val", "test")
Split = Annotated[Sequence[float], Field(min_length=3, max_length=3)] | Mapping[str, NonNegativeInt]


@dataclass(frozen=True)
class Series:
    """One equally spaced series, or several concatenated ones: unscaled ``values (N, C)``."""

    values: np.ndarray
    names: tuple[str, ...]
    season: int | Sequence[int] | None = 1  # steps per season, or per each of several; 1: none, None: infer it
    facts: tuple[str, ...] = ()
    window: int | None = None  # default for this series, if it has one
    horizon: int | None = None
    noise: np.ndarray | None = None  # (N,) the noise drawn for a synthetic series of one column
    noise_std: float | None = None  # and its standard deviation
    source: str = "data"  # its name in errors: its file, if there is one
    ids: tuple[str, ...] = ()  # name of each series, if there are several
    lengths: tuple[int, ...] = ()  # and its rows
    past: tuple[str, ...] = ()  # names of covariates known only in the past,
    known: tuple[str, ...] = ()  # and of those known in advance
    covariates: np.ndarray | None = None  # (N, P + K) their values
    static: tuple[str, ...] = ()  # names of features that are constant within a series,
    static_values: tuple[tuple[float | str, ...], ...] = ()  # and their values in each series, numbers or categories
    identified: bool = False  # whether a model may read which series it is
    test_rows: tuple[int, ...] = ()  # the last rows of each series that are the test split, if it is a separate file

    @property
    def several(self) -> bool:
        """Whether there is more than one series."""
        return len(self.ids) > 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of rows of each series."""
        return self.lengths or (len(self.values),)

    @property
    def firsts(self) -> np.ndarray:
        """The first row of each series, ``(S,)``."""
        return np.cumsum((0, *self.sizes[:-1]))

    def only(self, chosen: Sequence[int]) -> Series:
        """Return the chosen series."""
        rows = spans(self.firsts[list(chosen)], np.array(self.sizes)[list(chosen)])
        return replace(
            self,
            values=self.values[rows],
            ids=tuple(self.ids[number] for number in chosen),
            lengths=tuple(self.sizes[number] for number in chosen),
            covariates=None if self.covariates is None else self.covariates[rows],
            static_values=tuple(self.static_values[number] for number in chosen) if self.static else (),
            test_rows=tuple(self.test_rows[number] for number in chosen) if self.test_rows else (),
        )

    def head(self, kept: np.ndarray) -> Series:
        """Return the first ``kept (S,)`` rows of each series."""
        rows = spans(self.firsts, kept)
        return replace(
            self,
            values=self.values[rows],
            noise=None if self.noise is None else self.noise[rows],
            covariates=None if self.covariates is None else self.covariates[rows],
            lengths=tuple(kept.tolist()) if self.lengths else (),
            test_rows=(),
        )


def training_rows(series: Series, borders: np.ndarray) -> list[np.ndarray]:
    """Return the training rows of each series, ``(N_i, C)``, by its ``borders (S, 4)``."""
    return [series.values[first : first + stop] for first, stop in zip(series.firsts, borders[:, 1], strict=True)]


def spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the indices ``start, start + 1, …`` of all spans, concatenated: ``(sum of lengths,)``."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def check_shares(shares: Sequence[float], *, validation: bool = True) -> None:
    """Reject shares of training, validation and test that cannot be used (RequestError).

    Args:
        shares: of the three splits.
        validation: whether the second may not be 0.
    """
    if min(shares) < 0 or shares[0] == 0 or (validation and shares[1] == 0) or sum(shares) > 1 + 1e-9:
        above = "the first two" if validation else "the first"
        raise RequestError(
            f"data.split=[{','.join(f'{share:g}' for share in shares)}]: give the shares of training, validation and "
            f"test, {above} above 0, together at most 1, such as [0.8,0.1,0.1]"
        )


def split_borders(rows: int, split: Sequence[float]) -> list[int]:
    """Return the borders of a split given as shares or numbers of rows.

    Raises:
        RequestError: a part is negative, training or validation is empty, or there are too few rows.
    """
    as_shares = all(part <= 1 for part in split)
    if min(split) < 0 or split[0] == 0 or split[1] == 0 or (not as_shares and any(part % 1 for part in split)):
        raise RequestError(
            f"data.split={list(split)}: give training, validation and test, either as shares such as [0.7,0.1,0.2] "
            "or as whole numbers of rows; training and validation must not be empty"
        )
    total = sum(split)
    if as_shares and total > 1 + 1e-9:
        raise RequestError(f"data.split={list(split)}: the shares sum to {total:g}, which is more than 1")
    if not as_shares and total > rows:
        raise RequestError(f"data.split={list(split)}: needs {total:,.0f} rows, but the series has {rows:,}")
    scale = rows if as_shares else 1
    return [0, *(round(part * scale) for part in itertools.accumulate(split))]


def borders_from_end(rows: int, val: int, test: int) -> list[int]:
    """Return the borders of a split whose last ``test`` rows are the test split, and the ``val`` before validation."""
    return [0, max(rows - val - test, 0), max(rows - test, 0), rows]


def counted_from_end(split: Mapping[str, int]) -> tuple[int, int]:
    """Return the rows of validation and test of a split such as ``{val: 48, test: 48}``.

    Raises:
        RequestError: another key, or validation is empty.
    """
    strange = [key for key in split if key not in ("val", "test")]
    if strange or not split.get("val"):
        shown = ", ".join(f"{key}: {rows}" for key, rows in split.items())
        raise RequestError(
            f"data.split={{{shown}}}: give the last rows of each series that are validation (above 0) and test, such "
            "as {val: 48, test: 48}; the rows before are the training split"
        )
    return split["val"], split.get("test", 0)


def check_counts(split: Split | None, rows: int) -> None:
    """Reject a split counted from the end that leaves none of the ``rows`` of the longest series (RequestError)."""
    if not isinstance(split, Mapping):
        return
    val, test = counted_from_end(split)
    if val + test >= rows:
        shown = ", ".join(f"{key}: {part}" for key, part in split.items())
        raise RequestError(
            f"data.split={{{shown}}}: asks for {val + test:,} of {rows:,} rows, which leaves none for training; "
            "give fewer"
        )


def split_of(rows: int, split: Split) -> list[int]:
    """Return the borders of ``rows`` by a split: three shares, three numbers of rows, or rows from the end."""
    if isinstance(split, Mapping):
        return borders_from_end(rows, *counted_from_end(split))
    return split_borders(rows, split)
