"""Building what a config names: data, model, trainer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from omegaconf import DictConfig

from cellstate import checkpoint
from cellstate.callbacks import GradientNorm, Progress
from cellstate.config import check as checking
from cellstate.data import SequenceData
from cellstate.debug import Preset
from cellstate.debug.profiler import NoProfiler
from cellstate.distributed import check_number, environment
from cellstate.errors import RequestError
from cellstate.model import SequenceModel, refuse_oversized


def build_data(config: DictConfig) -> SequenceData:
    """Return the data, read or generated."""
    data = instantiate(config.data)
    try:
        _ = data.spec
    except MemoryError as error:
        raise RequestError(f"data: it does not fit into memory ({error}); ask for less of it") from error
    return data


def model_builder(config: DictConfig, data: SequenceData) -> Callable[[], SequenceModel]:
    """Return what makes the untrained model; every size that follows from the data comes from ``data.spec``."""
    parts = {name: configured(config[name]) for name in ("optimizer", "scheduler") if config[name]}
    model = get_object(config.model._target_)
    return partial(model, data.spec, configured(config.backbone), **parts, **arguments(config.model))


def build_model(config: DictConfig, data: SequenceData) -> SequenceModel:
    """Return the untrained model."""
    build = model_builder(config, data)
    try:
        refuse_oversized(build)
        model = build()
    except ValueError as error:  # the backbone's own words about arguments that contradict each other
        raise RequestError(f"backbone: {error}") from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("memory|overflow", str(error)):
            raise
        raise RequestError("the network does not fit into memory; set a smaller backbone.hidden_size") from error
    check_optimizer(config, model.parameters())
    return model


def check_optimizer(config: DictConfig, parameters: Iterable[torch.nn.Parameter]) -> None:
    """Hold the optimiser's values against what it takes itself, such as a learning rate that is not below 0.

    Raises:
        RequestError: the optimiser's own words.
    """
    try:
        configured(config.optimizer)(parameters)
    except (TypeError, ValueError) as error:
        raise RequestError(f"optimizer: {error}") from error


def build_preset(config: DictConfig) -> Preset:
    """Return the preset of ``debug=NAME``, else the one that adds nothing."""
    return instantiate(config.debug) if config.get("debug") else Preset()


def build_trainer(
    config: DictConfig, folder: Path, callbacks: list[L.Callback], profiler: Profiler | None = None
) -> L.Trainer:
    """Return Lightning's Trainer with the configured callbacks and loggers beside cellstate's own."""
    chosen = [instantiate(node) for node in checking.chosen(config.callbacks).values()]
    if config.quiet:
        chosen = [callback for callback in chosen if not isinstance(callback, Progress)]
    loggers = build_loggers(config)
    if not loggers:
        chosen = [callback for callback in chosen if not isinstance(callback, GradientNorm)]
    here = environment()
    if here is not None and config.trainer.get("num_nodes", 1) != 1:
        raise RequestError(
            f"trainer.num_nodes={config.trainer.num_nodes}: the processes of several machines are started by torchrun "
            "or srun; docs/processes.md shows both"
        )
    try:
        trainer = instantiate(
            config.trainer,
            # Checkpoints come last: what refuses a step has spoken before they are written.
            callbacks=[*chosen, *callbacks],
            logger=loggers or False,
            default_root_dir=str(folder),
            plugins=[checkpoint.AtomicCheckpointIO(), *([] if here is None else [here])],
            profiler=profiler or config.trainer.get("profiler") or NoProfiler(),
        )
    except Exception as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        if "No supported gpu backend" in reason:
            reason = "there is no GPU here; choose trainer=cpu, or trainer=default, which takes what there is"
        raise RequestError(f"trainer: {reason}") from error
    return check_number(trainer, "trainer.devices")


def build_loggers(config: DictConfig) -> list[Logger]:
    """Return the configured loggers.

    Raises:
        RequestError: one needs a package that is not installed, or does not take what it was given.
    """
    loggers = []
    for name, node in checking.chosen(config.logger).items():
        try:
            loggers.append(instantiate(node))
        except InstantiationException as error:
            if isinstance(error.__cause__, RequestError):
                raise error.__cause__ from error
            raise RequestError(f"logger.{name}: {str(error.__cause__ or error).splitlines()[0]}") from error
    return loggers


def configured(section: DictConfig) -> Callable[..., Any]:
    """Return what a section names, with its arguments."""
    return partial(get_object(section._target_), **arguments(section))


def arguments(section: DictConfig) -> dict[str, Any]:
    """Return a section's keys without Hydra's own."""
    return {key: value for key, value in checking.plain(section).items() if not key.startswith("_")}
