"""Sizes of the networks of configs, computed without allocating their weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from cellstate.config.check import plain
from cellstate.data import SequenceData
from cellstate.errors import RequestError
from cellstate.model import parameters_of
from cellstate.model.size import shapes_alone
from cellstate.runs.quiet import quiet_libraries
from cellstate.sweep.compare.matching import match_sizes
from cellstate.training.build import build_data, model_builder
from cellstate.training.settings import Settings


@dataclass(frozen=True)
class Size:
    """A network's size.

    Attributes:
        parameters: number of trainable parameters.
        state: numbers carried from step to step per sequence.
    """

    parameters: int
    state: int


@dataclass
class Sizes:
    """Computes sizes of networks from their configs; shared data is read once."""

    units: str  # the key to solve for
    _data: dict[str, SequenceData] = field(default_factory=dict)

    def of(self, config: DictConfig, units: int | None = None) -> Size:
        """Return the size of the network of a config, optionally with another number of units."""
        if units is not None:
            config = with_value(config, self.units, units)
        with quiet_libraries():
            data = self._read(config)
            build = model_builder(Settings.of(config), data)
            try:
                with shapes_alone():
                    model = build()
            except ValueError as error:  # contradicting arguments of the backbone
                raise RequestError(f"backbone: {error}") from error
            except (RuntimeError, TypeError):  # a user-defined backbone may need real tensors
                model = build()
        return Size(parameters_of(model), model.backbone.state_size)  # type: ignore[arg-type]

    def match(self, configs: Sequence[DictConfig], wanted: int, tolerance: float) -> list[int]:
        """Return a number of units for the network of each config; see ``matching.match_sizes``."""
        if not all(isinstance(OmegaConf.select(config, self.units), int) for config in configs):
            raise RequestError(f"comparison.units={self.units}: is not an integer in this config; choose another key")
        try:
            return match_sizes([cache(partial(self._parameters, config)) for config in configs], wanted, tolerance)
        except ValueError as error:
            raise RequestError(f"comparison.units={self.units}: {error}; choose another key") from error

    def _parameters(self, config: DictConfig, units: int) -> int:
        return self.of(config, units).parameters

    def _read(self, config: DictConfig) -> SequenceData:
        key = json.dumps(plain(config.data), sort_keys=True, default=str)
        if key not in self._data:
            self._data.clear()  # configs are ordered by condition: earlier data is not needed again
            self._data[key] = build_data(Settings.of(config))
        return self._data[key]


def with_value(config: DictConfig, key: str, value: Any) -> DictConfig:
    """Return a copy of a config with another value."""
    copy = config.copy()
    with read_write(copy), open_dict(copy):
        OmegaConf.update(copy, key, value)
    return copy
