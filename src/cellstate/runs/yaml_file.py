"""Reading a YAML file of a run folder as the plain values that it holds: nothing in it is looked up or computed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cellstate.errors import RequestError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is the faster one, where libyaml is there
LARGEST = 2**24  # bytes
DEEPEST = 64
MOST = 100_000  # values


def read_yaml(file: Path, *, resolved: bool = True) -> Any:
    """Return the dictionary or list that a file holds.

    Args:
        file: a YAML file that ``OmegaConf.save`` wrote.
        resolved: whether its interpolations were replaced by their values before, so that it must not hold any.

    Raises:
        RequestError: it holds something else: interpolations, tags, references to its own parts, or no YAML.
        OSError: it cannot be read.
    """
    if file.stat().st_size > LARGEST:
        raise RequestError(f"{file}: is larger than any config; it was changed")
    try:
        text = file.read_text(encoding="utf-8")
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=LOADER)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST or count > MOST:
                raise RequestError(f"{file}: is deeper or longer than any config; it was changed")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
                raise RequestError(f"{file}: has tags or references, which no run writes; it was changed")
            if resolved and "${" in str(getattr(event, "value", "")):
                raise RequestError(
                    f"{file}: holds the interpolation {event.value[:80]!r}, which nothing looks up; runs record values"
                )
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise RequestError(f"{file}: cannot be read as a config ({reason}); it was changed") from error
