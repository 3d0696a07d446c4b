"""The options of a comparison, under ``comparison``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from omegaconf import DictConfig

from cellstate.config.check import check_values, plain
from cellstate.config.types import PositiveFloat, PositiveInt
from cellstate.errors import RequestError, did_you_mean

TUNING_SEEDS_FROM = 1_000_000  # tuning and comparison never share a seed


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
    """The options, explained in ``conf/comparison/default.yaml``."""

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
        """The seeds of tuning."""
        return range(TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + self.tune_seeds)

    @classmethod
    def of(cls, config: DictConfig) -> Request:
        """Return the options of a config.

        Raises:
            RequestError: an unknown key, or a value of the wrong type or out of range.
        """
        values: dict[str, Any] = plain(config)
        given = {f"comparison.{key}": value for key, value in values.items()}
        known = set(Options.__annotations__)
        if unknown := [key for key in given if key not in known]:
            raise RequestError(f"{unknown[0]}: unknown key{did_you_mean(unknown[0], known)}")
        check_values(given, Options)
        if values["match"] not in ("parameters", "time", None):
            raise RequestError(f"comparison.match={values['match']}: should be parameters, time, or null")
        wrong = [key for key, value in (values["tune"] or {}).items() if not isinstance(value, list) or len(value) < 2]
        if wrong:
            raise RequestError(
                f"comparison.tune: {wrong[0]} needs several values to choose from, such as {{{wrong[0]}: [1e-3, 1e-2]}}"
            )
        values["generalise"] = values["generalise"] or {}
        check_generalise(values["generalise"])
        return cls(**{**{key: value for key, value in values.items() if key != "sweep"}, "tune": values["tune"] or {}})


def check_generalise(asked: dict[str, Any]) -> None:
    """Raise RequestError unless ``comparison.generalise`` is several numbers of one data key."""
    for key, values in asked.items():
        numbers = isinstance(values, list) and all(
            isinstance(one, (int, float)) and not isinstance(one, bool) for one in values
        )
        if len(asked) > 1 or not key.startswith("data.") or not numbers or len(set(values)) < 2:
            raise RequestError(
                f"comparison.generalise: {key} should be one data key with several numbers, such as "
                "{data.length: [10, 20, 40]}"
            )
