"""Read a YAML file as plain, untrusted values: those of run folders, and those that people pass on."""

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


def read_yaml(file: Path, *, resolved: bool = True, remedy: str = "it was modified") -> Any:
    """Return the dictionary or list in a file.

    Args:
        file: a YAML file, such as one written by ``OmegaConf.save``.
        resolved: whether interpolations have been resolved, so that the file must not contain any.
        remedy: the end of each message; by default that of a file that a run has written.

    Raises:
        RequestError: it contains interpolations, tags or aliases, or is not valid YAML.
        OSError: it cannot be read.
    """
    if file.stat().st_size > LARGEST:
        raise RequestError(f"{file}: too large for a config; {remedy}")
    try:
        text = file.read_text(encoding="utf-8")
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=LOADER)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST or count > MOST:
                raise RequestError(f"{file}: too deep or too long for a config; {remedy}")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
                raise RequestError(f"{file}: contains tags or aliases; {remedy}")
            if resolved and "${" in str(getattr(event, "value", "")):
                raise RequestError(f"{file}: contains the interpolation {event.value[:80]!r}; runs record values only")
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", line {mark.line + 1}"
        raise RequestError(f"{file}{where}: not a valid config ({reason}); {remedy}") from error
