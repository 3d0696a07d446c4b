"""Batches, and the specification of the data that a model needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, NamedTuple

from pydantic import Field
from torch import Tensor

from cellstate.config.signatures import argument_problems
from cellstate.config.types import NonNegativeInt, PositiveInt
from cellstate.errors import RequestError

Steps = Annotated[int, Field(ge=0, le=10_000_000)]
# Fields of a specification that follow from its samples and other fields.
DERIVED = frozenset(
    {
        *("seasons", "padded", "levels_differ", "log_mean", "log_std", "log_suits", "longest"),
        *("box_cox", "box_cox_mean", "box_cox_std"),
    }
)
UNKNOWN = "\ufffd"  # symbol 0 of a vocabulary if it represents all symbols not in the training split


class Batch(NamedTuple):
    """One batch, batch first.

    inputs: ``(B, T, F)`` float, or ``(B, T)`` integer tokens (``(B, T, K)`` for K categorical features). All features
        of a step are NaN if a window reaches before the first row of its series (``DataSpec.padded``).
    targets: by task: ``(B,)`` classes, ``(B, horizon, C)`` future values, ``(B, K)`` values of a sequence, ``(B, T)``
        next tokens.
    lengths: ``(B,)`` valid steps of each row, or None if all rows are full.
    reset: ``(B,)`` bool, rows whose carried state is reset, or None if no state is carried.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    reset: Tensor | None = None


@dataclass(frozen=True)
class DataSpec:
    """What a model needs to know about the data, to be built and to predict without the data.

    Sizes are derived from it, never configured by the user. All fields are plain values, stored in the checkpoint
    (``as_dict`` and ``from_dict`` are inverse to each other).
    """

    input_size: PositiveInt = 1  # features per step, for float inputs
    input_values: tuple[float, ...] = ()  # all values that inputs can have, if they are symbols
    input_mean: tuple[float, ...] = ()  # per feature, of the training split, if inputs are standardised
    input_std: tuple[float, ...] = ()
    vocabulary: tuple[str, ...] = ()  # the predicted symbols, for token inputs
    features: tuple[tuple[str, ...], ...] = ()  # vocabulary per input feature; empty: one feature with ``vocabulary``
    feature_names: tuple[str, ...] = ()  # of the input features, if they have names
    target_feature: NonNegativeInt = 0  # the input feature whose next symbol is predicted
    answer: tuple[str, int, int] | tuple[()] = ()  # metric, first, last: accuracy on these targets from the end
    classes: tuple[str, ...] = ()  # names of the classes
    targets: tuple[str, ...] = ()  # names of the forecast columns, or (horizon 0) of the values of a sequence
    past: tuple[str, ...] = ()  # names of the covariates known only in the past
    known: tuple[str, ...] = ()  # and of those known in advance, shifted by ``horizon`` steps in windows
    static: tuple[str, ...] = ()  # names of features that are constant within a series
    categories: tuple[tuple[str, ...], ...] = ()  # of each of these, sorted; empty for a number
    ids: tuple[str, ...] = ()  # of the training series, if inputs end with the place of their series among these
    window: Steps = 0  # input steps of a forecaster
    horizon: Steps = 0  # output steps of a forecaster
    season: PositiveInt = 1  # steps per season, 1 if there is none; of several seasons the shortest
    seasons: tuple[PositiveInt, ...] = ()  # steps per season of each, increasing; empty if there is none
    padded: bool = False  # whether windows may reach before their series, where inputs are NaN
    mean: tuple[float, ...] = ()  # per target, of the training split, unscaled
    std: tuple[float, ...] = ()
    naive_error: tuple[float, ...] = ()  # mean |y_t - y_(t - season)| of the training split, the scale of mase
    levels_differ: bool = False  # several series of different levels or spreads: see ``data.levels``
    log_mean: tuple[float, ...] = ()  # per target, of the logarithm; empty unless all training values are positive
    log_std: tuple[float, ...] = ()
    log_suits: bool = False  # whether the spread grows with the level, so that the logarithm evens it out
    box_cox: tuple[float, ...] = ()  # per target, exponent of the Box-Cox transform; empty like log_mean
    box_cox_mean: tuple[float, ...] = ()  # of the transform of value / exp(log_mean)
    box_cox_std: tuple[float, ...] = ()
    longest: Steps = 0  # steps of the longest training sequence, for files of sequences; 0: unknown

    def as_dict(self) -> dict[str, Any]:
        """Return plain lists, strings and numbers."""
        return {key: nested(value, tuple, list) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataSpec:
        """Restore a specification from ``as_dict``.

        Raises:
            RequestError: a field is unknown, of the wrong type, out of range, or inconsistent with another one.
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
        """Return a message on inconsistent fields: there must be one number per name."""
        columns, inputs = len(self.targets), (0, self.input_size)
        if any(len(numbers) not in (0, columns) for numbers in (self.mean, self.std, self.naive_error)):
            return f"mean, std or naive_error do not match {columns:,} targets"
        if len(self.log_mean) not in (0, columns) or len(self.log_std) != len(self.log_mean):
            return f"log_mean or log_std do not match {columns:,} targets"
        powers = (self.box_cox, self.box_cox_mean, self.box_cox_std)
        if any(len(numbers) not in (0, len(self.log_mean)) for numbers in powers) or len(set(map(len, powers))) > 1:
            return f"box_cox, box_cox_mean or box_cox_std do not match {columns:,} targets with log_mean"
        if self.log_suits and not self.log_mean:
            return "log_suits needs log_mean and log_std"
        if self.seasons and (self.season != self.seasons[0] or sorted(set(self.seasons)) != list(self.seasons)):
            return f"seasons {self.seasons} do not match season {self.season}"
        if len(self.input_mean) not in inputs or len(self.input_std) != len(self.input_mean):
            return f"input_mean or input_std do not match {self.input_size:,} features"
        if len(self.categories) != len(self.static):
            return f"categories do not match {len(self.static):,} static features"
        if self.target_feature >= max(1, len(self.features)):
            return f"target_feature={self.target_feature} is out of range for {max(1, len(self.features)):,} features"
        if self.features and self.features[self.target_feature] != self.vocabulary:
            return "the vocabulary differs from that of the target_feature"
        return None


def nested(value: Any, source: type, target: type) -> Any:
    """Convert every ``source`` in a value (lists or tuples at any depth) to ``target``."""
    return target(nested(part, source, target) for part in value) if isinstance(value, source) else value


def digest_text(spec: DataSpec) -> str:
    """Return a specification as text for a fingerprint.

    Fields at their default are omitted, and so are those that follow from the samples and the rest, so that new fields
    do not change existing fingerprints. Numbers are rounded to nine digits, since the last bits of a mean depend on the
    vector width of the machine.
    """

    def plain(value: Any) -> str:
        if isinstance(value, tuple):
            return f"[{','.join(map(plain, value))}]"
        return f"{value:.9g}" if isinstance(value, float) else repr(value)

    defining = [field for field in fields(spec) if field.name not in DERIVED]
    given = {field.name: value for field in defining if (value := getattr(spec, field.name)) != field.default}
    return "\n".join(f"{name}={plain(value)}" for name, value in sorted(given.items()))
