"""What a comparison is asked for beside what it varies: the keys under ``comparison``, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from omegaconf import DictConfig

from cellstate.config.check import check_values, plain
from cellstate.config.types import PositiveFloat, PositiveInt
from cellstate.errors import RequestError, did_you_mean

TUNING_SEEDS_FROM = 1_000_000  # no seed of a search is one of those that are compared


# The keys and their types.
Options = TypedDict(
    "Options",
    {
        "comparison.sweep": dict[str, Any] | None,
        "comparison.seeds": PositiveInt,
        "comparison.match": str | None,
        "comparison.parameters": PositiveInt | None,
        "comparison.tolerance": PositiveFloat,
        "comparison.units": str,
        "comparison.metric": str | None,
        "comparison.tune": dict[str, Any] | None,
        "comparison.tune_seeds": PositiveInt,
        "comparison.generalise": dict[str, Any] | None,
        "comparison.test": bool,
    },
)


@dataclass(frozen=True)
class Request:
    """The keys; ``conf/comparison/default.yaml`` says what each of them means."""

    seeds: int
    match: str | None
    parameters: int | None
    tolerance: float
    units: str
    metric: str | None
    tune: dict[str, list[Any]]
    tune_seeds: int
    generalise: dict[str, list[Any]]
    test: bool

    @property
    def tuning_seeds(self) -> range:
        """The seeds of the search."""
        return range(TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + self.tune_seeds)

    @classmethod
    def of(cls, config: DictConfig) -> Request:
        """Return the request of a config.

        Raises:
            RequestError: a value is not of its type, or means nothing.
        """
        values: dict[str, Any] = plain(config)
        given = {f"comparison.{key}": value for key, value in values.items()}
        known = set(Options.__annotations__)
        if strange := [key for key in given if key not in known]:
            raise RequestError(f"{strange[0]}: unknown key{did_you_mean(strange[0], known)}")
        check_values(given, Options)
        if values["match"] not in ("parameters", "time", None):
            raise RequestError(f"comparison.match={values['match']}: should be parameters, time, or null")
        wrong = [key for key, value in (values["tune"] or {}).items() if not isinstance(value, list) or len(value) < 2]
        if wrong:
            raise RequestError(
                f"comparison.tune: {wrong[0]} needs several values to choose among, as {{{wrong[0]}: [1e-3, 1e-2]}}"
            )
        values["generalise"] = values["generalise"] or {}
        check_generalise(values["generalise"])
        return cls(**{**{key: value for key, value in values.items() if key != "sweep"}, "tune": values["tune"] or {}})


def check_generalise(asked: dict[str, Any]) -> None:
    """Hold what networks are to generalise to against what can be drawn as a curve.

    Raises:
        RequestError: it is not several numbers of one key of the data.
    """
    for key, values in asked.items():
        numbers = isinstance(values, list) and all(
            isinstance(one, (int, float)) and not isinstance(one, bool) for one in values
        )
        if len(asked) > 1 or not key.startswith("data.") or not numbers or len(set(values)) < 2:
            raise RequestError(
                f"comparison.generalise: {key} should be one key of the data with several numbers, as "
                "{data.length: [10, 20, 40]}"
            )
