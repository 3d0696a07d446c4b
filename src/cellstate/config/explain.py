"""Explain why Hydra cannot compose a config, in one line per problem: what is wrong, where, what to do.

Nothing here parses messages of Hydra or OmegaConf. Overrides are checked against the config that they would change
(``overrides.py``); problems in files are taken from the attributes of exceptions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)
from yaml import MarkedYAMLError

from cellstate.config.overrides import Composed, missing_choice, wrong_overrides
from cellstate.config.paths import config_folder
from cellstate.errors import RequestError

REFERENCE = re.compile(r"\$\{([\w.]+)\}")  # in OmegaConf's grammar, to another key


def explain(error: Exception, config_name: str, overrides: Sequence[str], *, multirun: bool = False) -> Exception:
    """Return a RequestError for an error of Hydra; other errors are returned unchanged."""
    if isinstance(error, MarkedYAMLError):
        return RequestError(_bad_yaml(error))
    of_hydra = isinstance(error, (HydraException, OmegaConfBaseException))
    if not of_hydra and not isinstance(error, ValueError):  # raised by Hydra if a group is set to a number
        return error
    problems = list(wrong_overrides(config_name, overrides, multirun=multirun))
    if not problems and of_hydra:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        problems = list(wrong_files(error, config_name)) or [" ".join(lines[:2])]
    return RequestError(*problems) if problems else error


def _bad_yaml(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{mark.name.strip()}, line {mark.line + 1}" if mark else "a config file"
    return f"{where}: not valid YAML ({error.problem}); fix the file"


def wrong_files(error: BaseException | None, config_name: str) -> Iterator[str]:
    """Yield the problem described by the attributes of an exception of Hydra or OmegaConf, or of its causes."""
    while error is not None:
        if isinstance(error, MissingConfigException) and error.missing_cfg_file:
            yield _missing_file(error)
            return
        if isinstance(error, OmegaConfBaseException) and (problem := _wrong_node(error, config_name)):
            yield problem
            return
        error = error.__cause__


def _missing_file(error: MissingConfigException) -> str:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    if not group:
        return f"----config-name {choice}: unknown config"
    options = error.options or [file.stem for file in (config_folder() / group).glob("*.yaml")]
    return missing_choice(group, choice, options)


def _wrong_node(error: OmegaConfBaseException, config_name: str) -> str | None:
    if not error.full_key:
        return None
    key = str(error.full_key)
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: a value is required; set {key}=VALUE"
    composed = Composed.alone(config_name)
    if isinstance(error, InterpolationKeyError):
        written: Any = OmegaConf.to_container(error.parent_node, resolve=False) if error.parent_node else {}
        text = str(written.get(error.key)) if isinstance(written, Mapping) else key
        reference = REFERENCE.search(text)
        hint = composed.nearest(reference[1]) if composed and reference else ""
        return f"{key}: {text} refers to an unknown key{hint}"
    if isinstance(error, (ConfigAttributeError, ConfigKeyError)):
        return f"{key}: unknown key{composed.nearest(key) if composed else ''}"
    return None
