"""What a job of a sweep is: the hash of what its config trains, whatever words led to it."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cellstate.config.check import HOW_GIVEN, recorded

ASIDE = HOW_GIVEN | {"test", "checkpoint", "comparison"}  # no job is tested, and how often it is saved changes nothing
# Keys of which several values are repetitions of one and the same experiment.
REPEATS = ("seed", "data.fold")
DIGITS = 10  # of a hash in hexadecimal: two of ten thousand jobs share one with a chance of 1 in 20 000


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        folder: the name of its run folder within the sweep's.
        key: the hash of its config, by which it is known.
        group: the hash of its config but for the keys that repeat an experiment.
        words: its overrides as they stand on a command line.
        overrides: the same, key -> value.
        repeat: which repetition it is, such as ``{"seed": 3}``.
        trains: what of its config decides on the training, where that is at hand.
    """

    folder: str
    key: str
    group: str
    words: tuple[str, ...]
    overrides: dict[str, Any]
    repeat: dict[str, Any]
    trains: dict[str, Any] | None = field(default=None, repr=False, compare=False)

    def row(self) -> dict[str, Any]:
        """Return what the list of a sweep keeps of it."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "trains"}


def job_key(config: DictConfig) -> str:
    """Return the hash of what a config trains. The config may be composed, or be a run's ``config.yaml``."""
    return _hash(trained(config))


def group_key(config: DictConfig) -> str:
    """Return the hash of what a config trains but for its repetition: equal for all seeds and folds."""
    one = copy.deepcopy(config)
    for name in repetition(config):
        OmegaConf.update(one, name, 0)
    return _hash(trained(one))


def repetition(config: DictConfig) -> dict[str, Any]:
    """Return the keys that repeat an experiment, as far as the config has them, with their values."""
    found = {}
    for name in REPEATS:
        try:
            value = OmegaConf.select(config, name)
        except OmegaConfBaseException:  # a reference to what is not there: the job will say so
            continue
        if value is not None:
            found[name] = value
    return found


def trained(config: DictConfig) -> dict[str, Any]:
    """Return what of a config decides on the training, resolved."""
    values: Any
    try:
        values = recorded(config)
    except OmegaConfBaseException:  # a reference to what is not there: the job will say so
        values = OmegaConf.to_container(config, resolve=False)
    return {key: value for key, value in values.items() if key not in ASIDE}


def overrides_of(words: Sequence[str]) -> dict[str, Any]:
    """Return key -> value of overrides of the config; without those of Hydra, the sweep and the comparison."""
    found = {}
    for override in OverridesParser.create().parse_overrides(list(words)):
        key = override.get_key_element().lstrip("+")
        if not override.is_hydra_override() and key.partition(".")[0] not in ("sweep", "comparison"):
            value = override.value()
            # What JSON has no word for is kept as text.
            found[key] = str(value) if isinstance(value, float) and not math.isfinite(value) else value
    return found


def _hash(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
