"""Identity of a job: the hash of the part of its config that affects training, however it was specified."""

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

ASIDE = HOW_GIVEN | {"test", "checkpoint", "comparison"}  # jobs are not tested, and saving does not affect training
# Keys whose values are repetitions of the same experiment.
REPEATS = ("seed", "data.fold")
DIGITS = 10  # hexadecimal digits of a hash: a collision among ten thousand jobs has a probability of 1 in 20 000


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        folder: name of its run folder in the sweep's folder.
        key: hash of its config, which identifies it.
        group: hash of its config without seeds and folds.
        words: its overrides as on a command line.
        overrides: the same, key -> value.
        repeat: the repetition, such as ``{"seed": 3}``.
        trains: the part of its config that affects training, if known.
    """

    folder: str
    key: str
    group: str
    words: tuple[str, ...]
    overrides: dict[str, Any]
    repeat: dict[str, Any]
    trains: dict[str, Any] | None = field(default=None, repr=False, compare=False)

    def row(self) -> dict[str, Any]:
        """Return its entry in ``sweep.json``."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "trains"}


def job_key(config: DictConfig) -> str:
    """Return the hash of a composed config, or of a run's ``config.yaml``."""
    return _hash(trained(config))


def group_key(config: DictConfig) -> str:
    """Return the hash of a config without its repetition: equal for all seeds and folds."""
    one = copy.deepcopy(config)
    for name in repetition(config):
        OmegaConf.update(one, name, 0)
    return _hash(trained(one))


def repetition(config: DictConfig) -> dict[str, Any]:
    """Return the seed and fold of a config, if it has them."""
    found = {}
    for name in REPEATS:
        try:
            value = OmegaConf.select(config, name)
        except OmegaConfBaseException:  # a broken interpolation, which the job reports
            continue
        if value is not None:
            found[name] = value
    return found


def trained(config: DictConfig) -> dict[str, Any]:
    """Return the part of a config that affects training, resolved."""
    values: Any
    try:
        values = recorded(config)
    except OmegaConfBaseException:  # a broken interpolation, which the job reports
        values = OmegaConf.to_container(config, resolve=False)
    return {key: value for key, value in values.items() if key not in ASIDE}


def overrides_of(words: Sequence[str]) -> dict[str, Any]:
    """Return key -> value of overrides, without those of Hydra, the sweep and the comparison."""
    found = {}
    for override in OverridesParser.create().parse_overrides(list(words)):
        key = override.get_key_element().lstrip("+")
        if not override.is_hydra_override() and key.partition(".")[0] not in ("sweep", "comparison"):
            value = override.value()
            # NaN and infinity, which JSON lacks, are stored as text.
            found[key] = str(value) if isinstance(value, float) and not math.isfinite(value) else value
    return found


def _hash(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
