"""Read a YAML file of a run folder as plain, untrusted values, without interpolation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cellstate.errors import RequestError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # faster, if libyaml is available
LARGEST = 2**24  # bytes
DEEPEST = 64
MOST = 100_000  # values


def read_yaml(file: Path, *, resolved: bool = True) -> Any:
    """Return the dictionary or list in a file.

    Args:
        file: a YAML file written by ``OmegaConf.save``.
        resolved: whether interpolations have been resolved, so that the file must not contain any.

    Raises:
        RequestError: it contains interpolations, tags or aliases, or is not valid YAML.
        OSError: it cannot be read.
    """
    if file.stat().st_size > LARGEST:
        raise RequestError(f"{file}: too large for a config; it was modified")
    try:
        text = file.read_text(encoding="utf-8")
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=LOADER)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST or count > MOST:
                raise RequestError(f"{file}: too deep or too long for a config; it was modified")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
                raise RequestError(f"{file}: contains tags or aliases, which runs never write; it was modified")
            if resolved and "${" in str(getattr(event, "value", "")):
                raise RequestError(f"{file}: contains the interpolation {event.value[:80]!r}; runs record values only")
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise RequestError(f"{file}: not a valid config ({reason}); it was modified") from error
