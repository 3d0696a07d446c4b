"""What a forecaster chooses from statistics of the training split, and how the run prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellstate.data.batch import DataSpec
from cellstate.errors import RequestError
from cellstate.model.forecasting.transform import BoxCoxTransform, Transform

if TYPE_CHECKING:
    from cellstate.model.forecasting.model import Forecaster

NORMALISED = {
    "last": "each window minus its last value",
    "mean": "each window minus its mean",
    "mean_std": "each window standardised",
    "none": "windows not normalised",
}
LOSSES = {
    "mase": "errors in units of each window's seasonal error",
    "owa": "errors in units of each window's seasonal error, and relative errors",
}


def chosen_transform(spec: DataSpec, name: str | None, head: str) -> Transform | None:
    """Return the transform that the network reads and forecasts values under, if any.

    Raises:
        RequestError: one is requested, and not all values are positive or the head does not support it.
    """
    if name is None:
        name = "log" if spec.log_suits and head != "gaussian" else "none"
    if name == "none":
        return None
    if not spec.log_std or (name == "box_cox" and not spec.box_cox):
        raise RequestError(f"model.transform={name}: the training rows are not all positive; set model.transform=none")
    if head == "gaussian":
        raise RequestError(
            f"model.transform={name}: model.head=gaussian forecasts values as they are; set model.head=quantile"
        )
    return BoxCoxTransform(spec) if name == "box_cox" else Transform(spec)


def default_segment(spec: DataSpec) -> int:
    """Return one season if the window contains at least four, else the longest segment that it contains ten times."""
    if spec.season > 1 and spec.window % spec.season == 0 and spec.window // spec.season >= 4:
        return spec.season
    return max(size for size in range(1, max(1, spec.window // 10) + 1) if spec.window % size == 0)


def default_dropout(spec: DataSpec, channels: str) -> float:
    """Return less dropout the more data shares the weights: 0 for a panel, 0.1 for separate channels, else 0.5."""
    return 0.0 if spec.levels_differ else 0.1 if share_weights(spec, channels) else 0.5


def default_rate_factor(spec: DataSpec, channels: str) -> float:
    """Return larger steps the more data shares the weights: 6 for a panel, 2 for separate channels, else 1."""
    return 6.0 if spec.levels_differ else 2.0 if share_weights(spec, channels) else 1.0


def share_weights(spec: DataSpec, channels: str) -> bool:
    """Return whether several columns are forecast with the same weights."""
    return channels == "separate" and len(spec.targets) > 1


def described(model: Forecaster) -> tuple[str, ...]:
    """Return a line on normalisation, base, linear map and loss."""
    parts = [NORMALISED[model.normalisation]]
    if model.transform is not None:
        parts[0] = f"{model.transform.words}, {parts[0]}"
    if model.base is not None:
        count = len(model.base.logits)
        parts.append("correcting the seasonal naive forecast" + ("s" if count > 1 else ""))
    read = [*model.spec.static, *(["an embedding of the series"] if model.identifies else [])]
    if read:
        parts.append(f"with {', '.join(read)}")
    if model.linear is not None and bool(model.linear.fitted):
        parts.append("combined with a ridge regression")
    if model.loss_name in LOSSES and model.kind.in_units:
        parts.append(f"loss: {LOSSES[model.loss_name]}")
    return ("; ".join(parts),)
