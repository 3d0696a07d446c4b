"""The space of a search, ``sweep.space``: a tree with the structure of the config.

A node with ``choices``, or with ``low`` and ``high``, is a parameter; its other keys are child nodes, as ``backbone``
may have choices and a child ``hidden_size``. Imports nothing heavy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from cellstate.config.check import shown
from cellstate.errors import RequestError, did_you_mean
from cellstate.sweep.identity import REPEATS

NAMES = ("choices", "low", "high", "log", "step", "when")
PLAIN = (bool, int, float, str, type(None))  # types that Optuna stores unchanged
PLACE = "sweep.space"


@dataclass(frozen=True)
class Parameter:
    """One searched key.

    Attributes:
        key: as on a command line, such as ``optimizer.lr``, or ``backbone`` for a group.
        choices: its values; None for a range.
        low, high: inclusive ends of the range. If both are integers, it is a range of integers.
        log: whether to sample on a log scale.
        step: between values of the range; None: continuous (integers: 1).
        when: key -> condition on its value for this parameter to be searched: a value, a list of them, or
            ``{low: ..., high: ...}``.
    """

    key: str
    choices: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    when: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_integer(self) -> bool:
        """Whether it is a range of integers."""
        return all(isinstance(end, int) for end in (self.low, self.high, self.step) if end is not None)

    @property
    def as_text(self) -> bool:
        """Whether the choices are stored as JSON, because some are lists or mappings."""
        return self.choices is not None and not all(isinstance(value, PLAIN) for value in self.choices)

    def distribution(self) -> Any:
        """Return Optuna's distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices is not None:
            values = [json.dumps(value) for value in self.choices] if self.as_text else list(self.choices)
            return CategoricalDistribution(values)
        assert self.low is not None
        assert self.high is not None
        if self.is_integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def value(self, stored: Any) -> Any:
        """Return the config value for a value stored by Optuna."""
        return json.loads(stored) if self.as_text else stored

    def ends(self) -> list[Any]:
        """Return representative values: all choices, or both ends of the range."""
        return list(self.choices) if self.choices is not None else [self.low, self.high]

    def as_dict(self) -> dict[str, Any]:
        """Return the definition of the parameter as plain values."""
        if self.choices is not None:
            found: dict[str, Any] = {"choices": list(self.choices)}
        else:
            found = {"low": self.low, "high": self.high, "log": self.log, "step": self.step}
        return {**found, "when": dict(self.when)} if self.when else found


def read_space(tree: Any) -> list[Parameter]:
    """Return the parameters of ``sweep.space``, each after those that its condition depends on.

    Raises:
        RequestError: one line for each problem.
    """
    problems: list[str] = []
    if not isinstance(tree, Mapping):
        raise RequestError(
            f"{PLACE}={shown(tree)}: should be a mapping, such as {{optimizer: {{lr: {{low: 1e-4, …}}}}}}"
        )
    found = list(_parameters("", tree, problems))
    for parameter in found if not problems else ():
        problems += _problems(parameter)
    if problems:
        raise RequestError(*problems)
    return in_order(found)


def _parameters(key: str, node: Any, problems: list[str]) -> Iterator[Parameter]:
    """Yield the parameters at and below a node of the tree."""
    place = f"{PLACE}.{key}" if key else PLACE
    if isinstance(node, Sequence) and not isinstance(node, str):  # a list is shorthand for choices
        node = {"choices": node}
    if not isinstance(node, Mapping):
        hint = did_you_mean(key.rpartition(".")[2], NAMES)
        near = hint if "did you mean" in hint else ""
        problems.append(f"{place}={shown(node)}: is not a parameter; set choices, or low and high{near}")
        return
    own = {name: value for name, value in node.items() if name in NAMES} if key else {}
    if own:
        if isinstance(own.get("choices"), Mapping | str) or ("choices" in own and own["choices"] is None):
            problems.append(f"{place}.choices={shown(own['choices'])}: should be a list")
        elif not isinstance(own.get("when") or {}, Mapping):
            problems.append(f"{place}.when={shown(own['when'])}: should be a mapping, such as {{KEY: VALUE}}")
        else:
            choices = own.get("choices")
            yield Parameter(
                key,
                None if choices is None else tuple(choices),
                own.get("low"), own.get("high"), own.get("log") or False, own.get("step"),
                dict(_flat(own.get("when") or {})),
            )  # fmt: skip
    for name, part in node.items():
        if name not in own:
            yield from _parameters(f"{key}.{name}" if key else str(name), part, problems)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield key, value of a condition, whose keys may be dotted or nested."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and not value.keys() & {"low", "high"}:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _problems(parameter: Parameter) -> Iterator[str]:
    """Yield a line for each problem of a parameter."""
    place, low, high, step = f"{PLACE}.{parameter.key}", parameter.low, parameter.high, parameter.step
    if parameter.key.lstrip("+") in REPEATS:
        yield f"{place}: is a repetition, and selecting the best one would be biased; remove it from the space"
    if parameter.key.partition(".")[0] in ("sweep", "hydra"):
        yield f"{place}: configures the search, and cannot be searched"
    if not isinstance(parameter.log, bool):
        yield f"{place}.log={shown(parameter.log)}: should be true or false"
    if parameter.choices is not None:
        given = [name for name in ("low", "high", "step") if getattr(parameter, name) is not None]
        if given:
            yield f"{place}: has choices and {given[0]}; set choices, or low and high"
        if not parameter.choices:
            yield f"{place}.choices: is empty; set at least one value"
        return
    for name, end in (("low", low), ("high", high), ("step", step)):
        if (end is None and name != "step") or not isinstance(end, int | float | None) or isinstance(end, bool):
            yield f"{place}.{name}{'' if end is None else f'={shown(end)}'}: should be a number"
            return
    assert low is not None
    assert high is not None
    if not float("-inf") < low <= high < float("inf"):
        yield f"{place}: low={shown(low)} is above high={shown(high)}, or one of them is not finite; swap or fix them"
    elif parameter.log and low <= 0:
        yield f"{place}.low={shown(low)}: has no logarithm; set a value above 0, or log: false"
    if step is not None and step <= 0:
        yield f"{place}.step={shown(step)}: should be greater than 0"
    elif step is not None and parameter.log:
        yield f"{place}.step={shown(step)}: has no meaning on a log scale; remove one of them"


def in_order(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Return the parameters, each after those that its condition depends on; RequestError for a circle."""
    left, found = list(parameters), []
    while left:
        keys = {parameter.key for parameter in left}
        ready = [parameter for parameter in left if not keys & parameter.when.keys()]
        if not ready:
            raise RequestError(*(f"{PLACE}.{one.key}.when: the conditions are circular" for one in left))
        found += ready
        left = [parameter for parameter in left if parameter not in ready]
    return found


def from_word(word: Override) -> Parameter:
    """Return the parameter for several values on the command line: ``lr=interval(1e-4,1e-1)``, ``a=1,2``.

    Raises:
        RequestError: values that cannot be searched.
    """
    key, value = word.get_key_element(), word.value()
    if isinstance(value, IntervalSweep):
        ends = [value.start, value.end]
        integers = all(isinstance(end, int) for end in ends)
        low, high = ends if integers else map(float, ends)  # type: ignore[arg-type]
        found = Parameter(key, None, low, high, "log" in value.tags)
    elif isinstance(value, RangeSweep):
        found = Parameter(key, tuple(value.range()))
    elif word.is_choice_sweep():
        found = Parameter(key, tuple(_plain(one) for one in word.sweep_iterator()))
    else:
        raise RequestError(f"{word.input_line}: glob() is not supported in a search; list the values, with commas")
    if found.key.lstrip("+") in REPEATS:
        raise RequestError(
            f"{word.input_line}: selecting the best of several would be biased; search with one, and repeat the best "
            "with all: cellstate train -m --config-dir FOLDER_OF_THE_SEARCH experiment=best " + str(word.input_line)
        )
    if problems := list(_problems(found)):
        raise RequestError(*(f"{word.input_line}: {one.partition(': ')[2]}" for one in problems))
    return found


def _plain(value: Any) -> Any:
    return value.text if hasattr(value, "text") else value  # a quoted string


def meets(condition: Any, value: Any) -> bool:
    """Whether a value meets a condition: equal, in a list, or within ``low`` and ``high``."""
    if isinstance(condition, Mapping):
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        low, high = condition.get("low"), condition.get("high")
        return (low is None or value >= low) and (high is None or value <= high)
    if isinstance(condition, Sequence) and not isinstance(condition, str):
        return value in condition or value == condition
    return value == condition


def drawn(
    parameters: Sequence[Parameter], draw: Callable[[Parameter], Any], otherwise: Callable[[str], Any]
) -> dict[str, Any]:
    """Return key -> value of the parameters whose conditions hold."""
    found: dict[str, Any] = {}
    for parameter in parameters:
        if all(meets(one, found.get(key, otherwise(key))) for key, one in parameter.when.items()):
            found[parameter.key] = draw(parameter)
    return found


def word_of(key: str, value: Any) -> str:
    """Return ``KEY=VALUE`` in Hydra's grammar."""
    return f"{key}={written(value)}"


def written(value: Any) -> str:
    """Return a value in Hydra's grammar."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{written(part)}" for key, part in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(written, value)) + "]"
    text = str(value)
    if re.fullmatch(r"[A-Za-z_][\w./-]*", text) and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"
