"""Holds values against the signature that they configure: unknown keys, wrong types, values out of range.

A config that a user composes and the one that a checkpoint recorded are held against the same annotations.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from cellstate.errors import did_you_mean

# Arguments that the program fills in itself; a config that gives them would be overruled.
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
LARGEST = 2**63 - 1  # what sizes and counts are held in
SHOWN = 200  # characters of a value in a message


def argument_problems(
    section: str, factory: Any, values: Mapping[str, Any], filled_in: Collection[str] = ()
) -> Iterator[str]:
    """Yield a line for each of ``values`` that ``factory`` does not take, or not like that.

    Args:
        section: what to call them: the key in the config that they stand under.
        factory: a class or function.
        values: by the names of its arguments; those that begin with ``_`` are Hydra's own.
        filled_in: arguments that the program gives.
    """
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
            hint = did_you_mean(key, known).replace("mean '", f"mean '{section}.")
            yield f"{section}.{key}: unknown key{hint}"
        elif _too_large(value):
            yield f"{section}.{key}={shown(value)}: is too large a number; give {LARGEST} at most"
        elif value == "???":
            yield f"{section}.{key}: a value is needed"
        elif key in annotations and not (isinstance(value, Mapping) and "_target_" in value):  # Hydra makes it
            yield from value_problems(f"{section}.{key}", value, annotations[key])


def _annotations(factory: Any) -> dict[str, Any]:
    function = factory.__init__ if inspect.isclass(factory) else factory
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except (NameError, TypeError):  # names that only exist for the type checker, as some libraries have them
        return {}


def value_problems(key: str, value: Any, annotation: Any) -> Iterator[str]:
    """Yield a line if a value is not of a type, or out of its range; of types that cannot be held against, nothing."""
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
        # Of a union, pydantic tells of every member; the plainest of them are enough.
        found = [one for one in error.errors() if one["type"] != "none_required"]
        plainest = [one for one in found if one["type"] != "is_instance_of" or "Sequence" in one["msg"]] or found
        yield f"{key}={shown(value)}: should be {' or '.join(dict.fromkeys(map(_wanted, plainest)))}"


def _wanted(found: Any) -> str:
    """Return what pydantic wanted, in words that go on after "should be"."""
    context = found.get("ctx", {})
    if found["type"] == "sequence_str" or (found["type"] == "is_instance_of" and "Sequence" in found["msg"]):
        return "a list"
    if found["type"] == "too_short":
        return f"a list of at least {context['min_length']} values"
    if found["type"] == "too_long":
        return f"a list of at most {context['max_length']} values"
    return found["msg"].removeprefix("Input should be ").removeprefix("Value error, ")


def _too_large(value: Any) -> bool:
    return isinstance(value, int) and abs(value) > LARGEST


def shown(value: Any) -> str:
    """Return a value as one writes it on the command line, a long one cut short."""
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
