"""How large the network of a config is, told without memory for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
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
        parameters: trainable ones.
        state: numbers that it carries from step to step, for each sequence.
    """

    parameters: int
    state: int


@dataclass
class Sizes:
    """Sizes of networks by their configs; data that several of them share is read once."""

    units: str  # the key that is solved for
    _data: dict[str, SequenceData] = field(default_factory=dict)

    def of(self, config: DictConfig, units: int | None = None) -> Size:
        """Return the size of the network of a config, with another number of units if one is given.

        Raises:
            RequestError: there is no such key, or no such network.
        """
        if units is not None:
            config = with_value(config, self.units, units)
        with quiet_libraries():
            data = self._read(config)
            build = model_builder(Settings.of(config), data)
            try:
                with shapes_alone():
                    model = build()
            except ValueError as error:  # the backbone's own words about arguments that contradict each other
                raise RequestError(f"backbone: {error}") from error
            except (RuntimeError, TypeError):  # a backbone of the user's own may need memory
                model = build()
        return Size(parameters_of(model), model.backbone.state_size)  # type: ignore[arg-type]

    def match(self, configs: Sequence[DictConfig], wanted: int, tolerance: float) -> list[int]:
        """Return a number of units for the network of each config; see ``matching.match_sizes``.

        Raises:
            RequestError: the key has nothing to do with the size.
        """
        if not all(isinstance(OmegaConf.select(config, self.units), int) for config in configs):
            raise RequestError(
                f"comparison.units={self.units}: is no whole number in this config; name the key of the units"
            )
        try:
            return match_sizes([self._counting(config) for config in configs], wanted, tolerance)
        except ValueError as error:
            raise RequestError(f"comparison.units={self.units}: {error}; name the key of the units") from error

    def _counting(self, config: DictConfig) -> Callable[[int], int]:
        return cache(lambda units: self.of(config, units).parameters)

    def _read(self, config: DictConfig) -> SequenceData:
        key = json.dumps(plain(config.data), sort_keys=True, default=str)
        if key not in self._data:
            self._data.clear()  # configs come by condition: what one has read, the next does not need
            self._data[key] = build_data(Settings.of(config))
        return self._data[key]


def with_value(config: DictConfig, key: str, value: Any) -> DictConfig:
    """Return a copy of a config with another value."""
    copy = config.copy()
    with read_write(copy), open_dict(copy):
        OmegaConf.update(copy, key, value)
    return copy
