"""Static features: numbers and categories that are constant within a series, and the series itself.

They follow the covariates in every step of a window, ``(B, window, C + F + S)``: numbers as z-scores over the training
series, categories as their place in the sorted list of those seen in training, and last the place of the series, if the
data gives it. What was not seen in training is UNSEEN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from cellstate.data.batch import DataSpec
from cellstate.data.splitting import Series
from cellstate.errors import RequestError

UNSEEN = -1.0
Values = Sequence[Sequence[float | str]]  # of each series, the features in their order


def static_fields(series: Series) -> dict[str, Any]:
    """Return the fields of a specification that describe the static features of series."""
    columns = list(zip(*series.static_values, strict=True))
    categories = tuple(
        tuple(sorted(set(column))) if any(isinstance(value, str) for value in column) else () for column in columns
    )
    return {"static": series.static, "categories": categories, "ids": series.ids if series.identified else ()}


def coded(spec: DataSpec, values: Values, ids: Sequence[str]) -> np.ndarray:
    """Return the static features of series ``(S, n)``: unscaled numbers, and places of categories and ids.

    Raises:
        RequestError: a feature that should be a number is not.
    """
    columns = []
    for at, (name, categories) in enumerate(zip(spec.static, spec.categories, strict=True)):
        own = [row[at] for row in values]
        columns.append(places(map(spoken, own), categories) if categories else list(map(partial(number, name), own)))
    if spec.ids:
        columns.append(places(ids, spec.ids))
    return np.array(columns).T.reshape(len(ids), -1)


def number(name: str, value: float | str) -> float:
    """Return the value of a feature that is a number; RequestError if it is not."""
    if isinstance(value, str):
        raise RequestError(f"static feature {name!r} is {value!r}, but the model was trained on numbers there")
    return float(value)


def spoken(value: float | str) -> str:
    """Return the name of a category, which is a number if nothing else was in the file."""
    return value if isinstance(value, str) else f"{value:.15g}"


def places(names: Iterable[str], known: Sequence[str]) -> list[float]:
    """Return the place of each name among those known, or UNSEEN."""
    numbers = {name: float(number) for number, name in enumerate(known)}
    return [numbers.get(name, UNSEEN) for name in names]


def scaler(spec: DataSpec, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation ``(n,)`` of coded features ``(S, n)``; 0 and 1 for categories and ids."""
    numbers = np.array([*(not categories for categories in spec.categories), *([False] if spec.ids else [])], bool)
    spread = features.std(axis=0)
    return np.where(numbers, features.mean(axis=0), 0.0), np.where(numbers & (spread > 0), spread, 1.0)


def unseen(spec: DataSpec, values: Values, ids: Sequence[str]) -> list[str]:
    """Return a line for each feature with values that were not seen in training."""
    features, lines = coded(spec, values, ids), []
    for at, name in enumerate(spec.static):
        if spec.categories[at] and (new := features[:, at] == UNSEEN).any():
            shown = str(values[int(new.argmax())][at])
            lines.append(f"{name} {shown!r} did not occur in training: the mean embedding of all categories is used")
    if spec.ids and (new := features[:, -1] == UNSEEN).any():
        one = f"{ids[int(new.argmax())]!r}" + (", …" if new.sum() > 1 else "")
        lines.append(f"{new.sum():,} of {len(ids):,} series ({one}) were not in training: they get the mean embedding")
    return lines
