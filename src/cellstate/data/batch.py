"""What a batch is, and what a model has to know about the data it comes from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One batch, batch first.

    inputs: ``(B, T, F)`` float, or ``(B, T)`` integer tokens (``(B, T, K)`` for K categorical features).
    targets: what the task asks for: ``(B,)`` classes, ``(B, horizon, C)`` values, ``(B, T)`` next tokens.
    lengths: ``(B,)`` valid steps of each row, or None where all rows are full.
    reset: ``(B,)`` bool, rows whose carried state starts anew, or None where no state is carried.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    reset: Tensor | None = None


@dataclass(frozen=True)
class DataSpec:
    """What a model needs in order to be built, and later to predict where the data itself is gone.

    Sizes are derived from here and never typed by the user. All fields are plain values, so that a
    specification travels inside a checkpoint (``as_dict`` and ``from_dict`` are each other's inverse).
    """

    input_size: int = 1  # features a step, where inputs are floats
    vocabulary: tuple[str, ...] = ()  # the symbols, where inputs are integer tokens
    classes: tuple[str, ...] = ()  # names of the classes
    targets: tuple[str, ...] = ()  # names of the columns to forecast
    window: int = 0  # steps that a forecaster sees
    horizon: int = 0  # steps that a forecaster emits
    season: int = 1  # steps a season, 1 where there is none
    mean: tuple[float, ...] = ()  # per target, of the training split, in the data's own units
    std: tuple[float, ...] = ()
    naive_error: tuple[float, ...] = ()  # mean |y_t - y_(t - season)| of the training split, the scale of mase

    def as_dict(self) -> dict[str, Any]:
        """Return plain lists, strings and numbers."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataSpec:
        """Rebuild a specification from what ``as_dict`` gave."""
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**plain)


def digest_text(spec: DataSpec) -> str:
    """Return a specification as text for a fingerprint.

    Nine digits of a number count: the last bits of a mean depend on the vector width of the machine that summed it.
    """

    def plain(value: Any) -> str:
        if isinstance(value, tuple):
            return f"[{','.join(map(plain, value))}]"
        return f"{value:.9g}" if isinstance(value, float) else repr(value)

    return "\n".join(f"{key}={plain(getattr(spec, key))}" for key in sorted(spec.as_dict()))
