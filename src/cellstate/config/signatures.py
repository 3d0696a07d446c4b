"""Check values against a signature: unknown keys, wrong types, values out of range.

The config of a user and the config recorded in a checkpoint are checked against the same annotations.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from cellstate.errors import did_you_mean

# Arguments that are filled in by the program and cannot be configured.
FILLED_IN = {
    "data": set(),
    "model": {"spec", "backbone", "optimizer", "scheduler"},
    "backbone": {"input_size"},
    "optimizer": {"params"},
    "scheduler": {"optimizer", "total_steps"},
    "checkpoint": {"folder", "record", "stop"},
    "trainer": {"callbacks", "logger", "plugins", "default_root_dir"},
    "debug": set(),
}
LARGEST = 2**63 - 1  # of 64-bit sizes and counts
SHOWN = 200  # characters of a value in a message


def argument_problems(
    section: str, factory: Any, values: Mapping[str, Any], filled_in: Collection[str] = ()
) -> Iterator[str]:
    """Yield a line for each of ``values`` that is not a valid argument of ``factory``.

    Args:
        section: config key of the values, for messages.
        factory: a class or function.
        values: argument name -> value; names that start with ``_`` are Hydra's.
        filled_in: arguments that are filled in by the program.
    """
    parameters = inspect.signature(factory).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = [name for name in parameters if name not in filled_in]
    annotations = _annotations(factory)
    for key, value in values.items():
        if key.startswith("_"):
            continue
        if key in filled_in:
            yield f"{section}.{key}: is filled in by cellstate and cannot be set"
        elif key not in parameters and not open_ended:
            hint = did_you_mean(key, known).replace("mean '", f"mean '{section}.")
            yield f"{section}.{key}: unknown key{hint}"
        elif isinstance(value, int) and abs(value) > LARGEST:
            yield f"{section}.{key}={shown(value)}: is too large; the limit is {LARGEST}"
        elif value == "???":
            yield f"{section}.{key}: a value is required"
        elif key in annotations and not (isinstance(value, Mapping) and "_target_" in value):  # instantiated by Hydra
            yield from value_problems(f"{section}.{key}", value, annotations[key])


def _annotations(factory: Any) -> dict[str, Any]:
    function = factory.__init__ if inspect.isclass(factory) else factory
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except (NameError, TypeError):  # names that some libraries import only for type checking
        return {}


def value_problems(key: str, value: Any, annotation: Any) -> Iterator[str]:
    """Yield a line if a value has the wrong type or is out of range; types that pydantic cannot check are skipped."""
    try:
        adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True, strict=True))
    except PydanticSchemaGenerationError:
        return
    try:
        adapter.validate_python(_tuples(value))
        return
    except ValidationError:
        pass  # YAML only has lists, which are accepted for tuples
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        # For a union, pydantic reports every member; only the simplest ones are shown.
        found = [one for one in error.errors() if one["type"] != "none_required"]
        simplest = [one for one in found if one["type"] != "is_instance_of" or "Sequence" in one["msg"]] or found
        yield f"{key}={shown(value)}: should be {' or '.join(dict.fromkeys(map(expected, simplest)))}"


def expected(found: Any) -> str:
    """Return the type or range expected by pydantic, to follow "should be"."""
    context = found.get("ctx", {})
    if found["type"] == "sequence_str" or (found["type"] == "is_instance_of" and "Sequence" in found["msg"]):
        return "a list"
    if found["type"] == "too_short":
        return f"a list of at least {context['min_length']} values"
    if found["type"] == "too_long":
        return f"a list of at most {context['max_length']} values"
    return found["msg"].removeprefix("Input should be ").removeprefix("Value error, ")


def shown(value: Any) -> str:
    """Return a value as on the command line, truncated if long."""
    text = _written(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(_written, value))}]"
    return str(value)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
