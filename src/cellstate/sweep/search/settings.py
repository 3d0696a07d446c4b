"""The options of a search under ``sweep.*``, except its space. Imports Optuna only to check samplers and pruners."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from cellstate.config.signatures import argument_problems, shown
from cellstate.errors import RequestError, did_you_mean
from cellstate.metrics.table import MONITOR, metric_of

KEYS = (
    *("name", "verbose", "space", "n_trials", "sampler", "pruner", "objective", "directions"),
    *("storage", "seed", "at_once", "nested", "score"),
)
COSTS = ("parameters", "seconds")  # objectives that are not metrics
Direction = Literal["minimize", "maximize"]
DIRECTIONS: tuple[Direction, Direction] = ("minimize", "maximize")

SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "qmc": "QMCSampler",
}
PRUNERS = {
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "threshold": "ThresholdPruner",
}
NEEDS = {"cmaes": "cmaes", "gp": "scipy", "qmc": "scipy"}  # optional dependencies of Optuna


@dataclass(frozen=True)
class Choice:
    """A sampler or pruner: its name, and the arguments of Optuna's class."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """The options of a search.

    Attributes:
        n_trials: total number; for a nested search, of each of its searches.
        sampler: proposes trials.
        pruner: stops unpromising trials; None: no pruning.
        objectives: such as ``val/loss``, evaluated for the weights that a run keeps.
        directions: minimize or maximize, for each objective.
        storage: URL of an Optuna storage, or a file; None: a file in the folder of the sweep.
        seed: of the sampler.
        at_once: trials that are proposed at a time; None: as many as the launcher runs in parallel.
        nested: whether to use nested cross-validation.
        score: whether to score the selected trials on the held-out folds.
    """

    n_trials: int
    sampler: Choice
    pruner: Choice | None
    objectives: tuple[str, ...]
    directions: tuple[Direction, ...]
    storage: str | None
    seed: int
    at_once: int | None
    nested: bool
    score: bool


def read_settings(config: DictConfig) -> Settings:
    """Return the options of a config.

    Raises:
        RequestError: one line for each problem.
    """
    values: Any = OmegaConf.to_container(config.sweep, resolve=True)
    problems = [f"sweep.{key}: unknown key{did_you_mean(key, KEYS)}" for key in values if key not in KEYS]
    problems += _value_problems(values)
    monitor = OmegaConf.select(config, "checkpoint.monitor") or MONITOR
    objectives = _listed(values.get("objective"), monitor)
    problems += _objective_problems(objectives)
    given = _listed(values.get("directions"), None)
    usual: list[Direction] = [natural(str(one)) for one in objectives]
    directions: list[Any] = [asked or other for asked, other in zip_longest(given[: len(usual)], usual)]
    if len(given) not in (1, len(objectives)) or any(one not in DIRECTIONS for one in directions):
        problems.append(
            f"sweep.directions={shown(values.get('directions'))}: should be minimize or maximize, one per objective"
        )
    sampler = _choice("sampler", values.get("sampler") or "tpe", SAMPLERS, problems)
    pruner = _choice("pruner", values["pruner"], PRUNERS, problems) if values.get("pruner") else None
    if pruner and len(objectives) > 1:
        problems.append(
            f"sweep.pruner={pruner.name}: pruning requires a single objective, and this search has {len(objectives)}; "
            "set sweep.pruner=null"
        )
    if problems:
        raise RequestError(*problems)
    assert sampler is not None
    return Settings(
        values["n_trials"], sampler, pruner, tuple(objectives), tuple(directions), values.get("storage"),
        values.get("seed") or 0, values.get("at_once"), bool(values.get("nested")), bool(values.get("score")),
    )  # fmt: skip


def _value_problems(values: Mapping[str, Any]) -> Iterator[str]:
    for key, least, may_lack in (("n_trials", 1, False), ("at_once", 1, True), ("seed", 0, True)):
        value = values.get(key)
        if not ((value is None and may_lack) or (type(value) is int and value >= least)):
            yield f"sweep.{key}={shown(value)}: should be an integer of at least {least}"
    for key in ("nested", "score"):
        if not isinstance(values.get(key), bool | None):
            yield f"sweep.{key}={shown(values[key])}: should be true or false"
    if not isinstance(values.get("storage"), str | None):
        yield f"sweep.storage={shown(values['storage'])}: should be a file, or a URL such as sqlite:///study.db"


def _objective_problems(objectives: Sequence[Any]) -> Iterator[str]:
    for one in objectives:
        if str(one).startswith("test/"):
            yield f"sweep.objective={one}: a search never reads the test split; use val/{str(one)[5:]}"
        elif one not in COSTS and not re.fullmatch(r"val/\w+", str(one)):
            yield f"sweep.objective={shown(one)}: should be val/METRIC, such as val/loss, or parameters, or seconds"
        elif metric_of(one).mode is None:
            yield (
                f"sweep.objective={one}: has no better direction ({metric_of(one).in_words}); choose another metric, "
                "such as val/loss"
            )
    if len(set(map(str, objectives))) < len(objectives):
        yield f"sweep.objective={shown(list(objectives))}: contains duplicates"


def natural(objective: str) -> Direction:
    """Return the default direction of an objective."""
    return DIRECTIONS[metric_of(objective).higher_is_better]


def _listed(value: Any, default: Any) -> list[Any]:
    return [default] if value is None else list(value) if isinstance(value, list) and value else [value]


def _choice(kind: str, value: Any, known: Mapping[str, str], problems: list[str]) -> Choice | None:
    """Return the sampler or pruner given as ``NAME`` or ``{name: NAME, …}``."""
    arguments = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = arguments.pop("name", None)
    if name not in known:
        problems.append(f"sweep.{kind}={shown(name)}: unknown {kind}{did_you_mean(str(name), known)}")
        return None
    import optuna

    if name in NEEDS and not installed(NEEDS[name]):
        problems.append(f"sweep.{kind}={name}: requires a package; pip install {NEEDS[name]}")
        return None
    factory = getattr(optuna.samplers if known is SAMPLERS else optuna.pruners, known[name])
    found = list(argument_problems(f"sweep.{kind}", factory, arguments, {"seed"} if known is SAMPLERS else ()))
    problems += found
    if not found and kind == "pruner":
        try:
            factory(**arguments)
        except (TypeError, ValueError) as error:
            problems.append(f"sweep.{kind}={name}: {str(error).splitlines()[0]}")
    return Choice(name, arguments)


def installed(package: str) -> bool:
    """Whether a package is installed."""
    from importlib.util import find_spec

    return find_spec(package) is not None
