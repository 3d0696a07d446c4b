"""Checks a composed config against the signatures it configures, and tells all of its problems at once."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from cellstate.errors import RequestError, did_you_mean

# Arguments that the program fills in itself; a config that gives them would be overruled.
FILLED_IN = {
    "data": set(),
    "model": {"spec", "backbone", "optimizer", "scheduler"},
    "backbone": {"input_size"},
    "optimizer": {"params"},
    "scheduler": {"optimizer", "total_steps"},
    "trainer": {"callbacks", "logger", "plugins", "default_root_dir"},
}
SECTIONS = ("data", "model", "backbone", "optimizer", "scheduler", "trainer")


def plain(config: Any) -> Any:
    """Return a config as plain dictionaries and lists, with interpolations resolved."""
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config


def check(config: DictConfig, known: typing.Collection[str]) -> None:
    """Hold every section of a config against the signature of its ``_target_``.

    Args:
        config: the composed config.
        known: the keys that the top level may have.

    Raises:
        RequestError: holds one line for each unknown key, wrong type and value out of range.
    """
    values = plain(config)
    problems = [f"{key}: unknown key{did_you_mean(key, known)}" for key in values if key not in known]
    if not isinstance(values.get("seed"), int) or isinstance(values.get("seed"), bool) or values["seed"] < 0:
        problems.append(f"seed={values.get('seed')}: a whole number of 0 or more is needed")
    for section in SECTIONS:
        if values.get(section):
            problems += _problems(section, values[section], FILLED_IN[section])
    for group in ("callbacks", "logger"):
        for name, node in (values.get(group) or {}).items():
            problems += _problems(f"{group}.{name}", node, set()) if node is not None else []
    if problems:
        raise RequestError(*problems)


def _problems(section: str, values: Any, filled_in: set[str]) -> Iterator[str] | list[str]:
    if not isinstance(values, Mapping) or "_target_" not in values:
        return [f"{section}: names no class; choose one of its configs, such as {section}=NAME (see: cellstate list)"]
    target = values["_target_"]
    try:
        factory = get_object(target)
    except Exception as error:
        return [f"{section}._target_={target}: cannot be found ({str(error).splitlines()[0]})"]
    return list(_argument_problems(section, factory, values, filled_in))


def _argument_problems(section: str, factory: Any, values: Mapping[str, Any], filled_in: set[str]) -> Iterator[str]:
    parameters = inspect.signature(factory).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = [name for name in parameters if name not in filled_in]
    annotations = _annotations(factory)
    for key, value in values.items():
        if key.startswith("_"):
            continue
        if key in filled_in:
            yield f"{section}.{key}: is filled in by cellstate and cannot be given"
        elif key not in parameters and not open_ended:
            yield f"{section}.{key}: unknown key{did_you_mean(key, known)}"
        elif value == "???":
            yield f"{section}.{key}: a value is needed"
        elif key in annotations:
            yield from _value_problems(f"{section}.{key}", value, annotations[key])


def _annotations(factory: Any) -> dict[str, Any]:
    function = factory.__init__ if inspect.isclass(factory) else factory
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except (NameError, TypeError):  # names that only exist for the type checker, as some libraries have them
        return {}


def _value_problems(key: str, value: Any, annotation: Any) -> Iterator[str]:
    try:
        adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True, strict=True))
    except PydanticSchemaGenerationError:
        return
    try:
        adapter.validate_python(_tuples(value))
        return
    except ValidationError:
        pass  # YAML has lists only; where an annotation asks for a tuple, either will do
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        # Of a union, pydantic tells of every member; the plainest of them is enough.
        reasons = [found["msg"].removeprefix("Input should be ") for found in error.errors()]
        reasons = [reason for reason in reasons if not reason.startswith(("an instance of", "None"))] or reasons
        yield f"{key}={value!r}: should be {' or '.join(dict.fromkeys(reasons))}".replace("should be Value error, ", "")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
