"""What a batch is, and what a model has to know about the data it comes from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, NamedTuple

from pydantic import Field
from torch import Tensor

from cellstate.config.signatures import argument_problems
from cellstate.config.types import NonNegativeInt, PositiveInt
from cellstate.errors import RequestError

Steps = Annotated[int, Field(ge=0, le=10_000_000)]
UNKNOWN = "\ufffd"  # a vocabulary's symbol 0 where it stands for every symbol that the training split does not hold


class Batch(NamedTuple):
    """One batch, batch first.

    inputs: ``(B, T, F)`` float, or ``(B, T)`` integer tokens (``(B, T, K)`` for K categorical features).
    targets: what the task asks for: ``(B,)`` classes, ``(B, horizon, C)`` values to come, ``(B, K)``
        values of a whole sequence, ``(B, T)`` next tokens.
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

    input_size: PositiveInt = 1  # features a step, where inputs are floats
    input_values: tuple[float, ...] = ()  # all values that inputs can have, where they are symbols; else empty
    input_mean: tuple[float, ...] = ()  # per feature, of the training split, where inputs are scaled by their z-score
    input_std: tuple[float, ...] = ()
    vocabulary: tuple[str, ...] = ()  # the symbols that are predicted, where inputs are integer tokens
    features: tuple[tuple[str, ...], ...] = ()  # vocabulary of each input feature; empty: one, with ``vocabulary``
    feature_names: tuple[str, ...] = ()  # of the input features, where they have names
    target_feature: NonNegativeInt = 0  # the input feature whose next symbol is predicted
    answer: tuple[str, int, int] | tuple[()] = ()  # metric, first, last: its accuracy on these targets from the end
    classes: tuple[str, ...] = ()  # names of the classes
    targets: tuple[str, ...] = ()  # names of the columns to forecast, or (horizon 0) of the values of a sequence
    past: tuple[str, ...] = ()  # names of the covariates beside them that are known in the past alone
    known: tuple[str, ...] = ()  # and of those known ahead, which windows show ``horizon`` steps early
    window: Steps = 0  # steps that a forecaster sees
    horizon: Steps = 0  # steps that a forecaster emits
    season: PositiveInt = 1  # steps a season, 1 where there is none
    seasons: tuple[PositiveInt, ...] = ()  # all of them, increasing, where there are several; ``season`` is the first
    padded: bool = False  # whether windows may reach before the beginning of their series, where steps are NaN
    levels_differ: bool = False  # whether several series lie farther apart than they move
    log_mean: tuple[float, ...] = ()  # per target, of log y in the training split; empty unless all y are positive
    log_std: tuple[float, ...] = ()
    log_suits: bool = False  # whether the spread grows with the level, so that logarithms are alike throughout
    mean: tuple[float, ...] = ()  # per target, of the training split, in the data's own units
    std: tuple[float, ...] = ()
    naive_error: tuple[float, ...] = ()  # mean |y_t - y_(t - season)| of the training split, the scale of mase

    def as_dict(self) -> dict[str, Any]:
        """Return plain lists, strings and numbers."""
        return {key: nested(value, tuple, list) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataSpec:
        """Rebuild a specification from what ``as_dict`` gave.

        Raises:
            RequestError: a field is unknown, of another type or out of range, or does not fit another one.
        """
        given = {str(key): nested(value, list, tuple) for key, value in values.items()}
        problems = list(argument_problems("spec", cls, given))
        if problems:
            raise RequestError(*problems)
        spec = cls(**given)
        if misfit := spec._misfit():
            raise RequestError(f"spec: {misfit}")
        return spec

    def _misfit(self) -> str | None:
        """Return which fields contradict each other: numbers that stand beside names must be as many."""
        columns, inputs = len(self.targets), (0, self.input_size)
        if any(len(numbers) not in (0, columns) for numbers in (self.mean, self.std, self.naive_error)):
            return f"mean, std or naive_error are not those of {columns:,} targets"
        if len(self.input_mean) not in inputs or len(self.input_std) != len(self.input_mean):
            return f"input_mean or input_std are not those of {self.input_size:,} features"
        if self.target_feature >= max(1, len(self.features)):
            return f"target_feature={self.target_feature} is none of {max(1, len(self.features)):,} features"
        if self.features and self.features[self.target_feature] != self.vocabulary:
            return "the vocabulary is not that of the target_feature"
        return None


def nested(value: Any, source: type, target: type) -> Any:
    """Return a value with every ``source`` in it, lists or tuples at any depth, turned into a ``target``."""
    return target(nested(part, source, target) for part in value) if isinstance(value, source) else value


def digest_text(spec: DataSpec) -> str:
    """Return a specification as text for a fingerprint.

    What it leaves at its default does not count, so that a field that is new tomorrow changes none of today's
    fingerprints. Nine digits of a number count: the last bits of a mean depend on the vector width of the machine that
    summed it.
    """

    def plain(value: Any) -> str:
        if isinstance(value, tuple):
            return f"[{','.join(map(plain, value))}]"
        return f"{value:.9g}" if isinstance(value, float) else repr(value)

    told = {field.name: value for field in fields(spec) if (value := getattr(spec, field.name)) != field.default}
    return "\n".join(f"{name}={plain(value)}" for name, value in sorted(told.items()))
