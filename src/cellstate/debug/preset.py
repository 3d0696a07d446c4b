"""What a preset may add to a run; a run without one has the preset that adds nothing."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
from hydra.utils import get_object
from lightning.pytorch.profilers import Profiler
from omegaconf import DictConfig, OmegaConf, open_dict

from cellstate.data import SequenceData

# What a preset sets wherever there is such a key: not every network, optimiser or model has each of them.
WHERE_KNOWN = (("model", "dropout"), ("model", "input_noise"), ("backbone", "dropout"), ("optimizer", "weight_decay"))


class Preset:
    """Adds nothing to a run.

    Attributes:
        name: as in ``debug=NAME``; empty for a run that is none of debugging.
        scores_splits: whether the scores of the run are those of its splits, and stand beside references.
    """

    name: ClassVar[str] = ""
    scores_splits: ClassVar[bool] = True

    def prepare(self, data: SequenceData) -> None:
        """Change what training sees of the data."""

    def check(self, trainer: L.Trainer, *, again: bool) -> None:
        """Refuse a run that the preset has no meaning for.

        Args:
            trainer: of the run.
            again: whether the run goes on from a checkpoint.

        Raises:
            RequestError: says which key to change.
        """

    def callbacks(self) -> list[L.Callback]:
        """Return what watches over the training."""
        return []

    def profiler(self) -> Profiler | None:
        """Return what Lightning asks at each of its hooks; None for nothing."""
        return None

    def record(self) -> dict[str, Any]:
        """Return what ``metrics.json`` tells of the preset beside its name."""
        return {}

    def conclude(self, folder: Path, *, quiet: bool) -> None:
        """Write and print what the preset found; ``metrics.json`` is there by then.

        Raises:
            RunError: the run did not do what the preset asks of it.
        """


def drop_unknown(config: DictConfig) -> None:
    """Drop from a config those keys of ``WHERE_KNOWN`` that its classes do not have."""
    for section, key in WHERE_KNOWN:
        node = config.get(section)
        if not OmegaConf.is_dict(node) or key not in node:
            continue
        try:
            parameters = inspect.signature(get_object(str(node.get("_target_")))).parameters
        except Exception:  # no such class: that is told where the whole config is checked
            continue
        if key not in parameters and not any(found.kind is found.VAR_KEYWORD for found in parameters.values()):
            with open_dict(node):
                del node[key]
