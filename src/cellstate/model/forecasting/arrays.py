"""Windows from unscaled arrays, and forecasts shaped like those arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellstate.data.batch import DataSpec
from cellstate.data.static import coded
from cellstate.errors import RequestError
from cellstate.model.inputs import as_sequences

Static = Mapping[str, float | str] | Sequence[Mapping[str, float | str]] | None


def scaled_windows(spec: DataSpec, rows: Tensor, known: Any) -> Tensor:
    """Return the scaled last windows ``(B, window, C + F)`` of histories ``(B, T, C + P + K)``.

    For a model of padded windows, short histories are padded with NaN; they may also begin with steps of NaN.

    Raises:
        RequestError: a history is too short, or ``known`` does not fit.
    """
    lacking = spec.window - rows.shape[1]
    if lacking > 0 and not spec.padded:
        raise RequestError(f"a history of {rows.shape[1]} steps is too short: the model needs windows of {spec.window}")
    before = torch.isnan(rows[..., :1])
    rows = with_known(rows, known, spec).masked_fill(before, torch.nan)  # as in training, without what is known there
    if lacking > 0:
        rows = torch.cat((rows.new_full((len(rows), lacking, rows.shape[2]), torch.nan), rows), dim=1)
    mean, std = (torch.tensor(part).double()[: rows.shape[2]] for part in scaler_of(spec))
    return (rows[:, -spec.window :] - mean) / std


def scaler_of(spec: DataSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of all inputs."""
    return spec.input_mean or spec.mean, spec.input_std or spec.std


def with_static(windows: Tensor, spec: DataSpec, static: Static) -> Tensor:
    """Return scaled windows ``(B, window, C + F)`` with the static features of their series, ``(…, C + F + S)``.

    Raises:
        RequestError: a feature is missing or unknown, or there is not one mapping for each window.
    """
    known = [*spec.static, *(["id"] if spec.ids else [])]
    given = [static or {}] * len(windows) if isinstance(static, Mapping) or static is None else list(static)
    strange = [name for one in given for name in one if name not in known]
    lacking = [name for one in given for name in spec.static if name not in one]
    if strange or lacking or len(given) != len(windows):
        raise RequestError(
            f"static={static!r}: give {', '.join(known) or 'nothing, as there are no static features'}, in one mapping "
            f"or one for each of {len(windows):,} histories"
        )
    if not known:
        return windows
    ids = [str(one.get("id", "")) for one in given]
    features = coded(spec, [[one[name] for name in spec.static] for one in given], ids)
    mean, std = (torch.tensor(part).double()[windows.shape[2] :] for part in scaler_of(spec))
    rows = ((torch.from_numpy(features) - mean) / std).unsqueeze(1).expand(-1, windows.shape[1], -1)
    return torch.cat((windows, rows.masked_fill(windows[..., :1].isnan(), torch.nan)), dim=2)


def with_known(rows: Tensor, known: Any, spec: DataSpec) -> Tensor:
    """Return histories ``(B, T, C + P + K)`` with the columns known in advance shifted by ``horizon``, as in windows.

    Raises:
        RequestError: ``known`` is missing, superfluous, or not ``(B, horizon, K)`` or ``(horizon, K)``.
    """
    if not spec.known:
        if known is not None:
            raise RequestError("known=…: this model was trained without columns known in advance; omit it")
        return rows
    names, shape = ", ".join(spec.known), (len(rows), spec.horizon, len(spec.known))
    if known is None:
        raise RequestError(
            f"the model was trained with columns known in advance ({names}): give their values in the forecast steps, "
            f"predict(history, known=VALUES) of shape {shape[1:]}"
        )
    ahead = as_sequences(known, len(spec.known)).cpu()
    if ahead.shape != shape:
        raise RequestError(f"known of shape {tuple(np.shape(known))} does not match: give {names} as {shape} numbers")
    first = rows.shape[-1] - len(spec.known)
    whole = torch.cat((rows[..., first:], ahead), dim=1)
    return torch.cat((rows[..., :first], whole[:, spec.horizon :]), dim=-1)


def as_given(forecast: np.ndarray, inputs: Any, features: int) -> np.ndarray:
    """Return forecasts ``(B, horizon, C, …)`` without the dimensions that ``inputs`` of ``features`` columns lacks."""
    given = np.shape(inputs)
    if len(given) == 3:
        return forecast
    if given[-1] == features and len(given) == 2:
        return forecast[0]
    return forecast[0, :, 0] if len(given) == 1 else forecast[:, :, 0]
