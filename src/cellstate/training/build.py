"""Build the parts of a run from its settings: data, model, callbacks, loggers, trainer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import lightning as L
import torch
from hydra.errors import InstantiationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import FSDPStrategy

from cellstate import checkpoint
from cellstate.callbacks import GradientNorm, Progress, WeightAveraging
from cellstate.data import SequenceData
from cellstate.debug.profiler import NoProfiler
from cellstate.distributed import check_number, environment
from cellstate.errors import RequestError
from cellstate.model import SequenceModel, refuse_oversized
from cellstate.model.ensemble import ensemble_of
from cellstate.training.settings import Part, Settings


def build_data(settings: Settings) -> SequenceData:
    """Return the datamodule, with its data read or generated."""
    data = settings.data.build()
    try:
        _ = data.spec
    except MemoryError as error:
        raise RequestError(f"data: out of memory ({error}); reduce the size of the data") from error
    return data


def model_builder(settings: Settings, data: SequenceData) -> Callable[[], SequenceModel]:
    """Return a factory of the untrained model; ``data.spec`` provides the sizes that follow from the data."""
    optimization = {"optimizer": settings.optimizer.factory()}
    if settings.scheduler is not None:
        optimization["scheduler"] = settings.scheduler.factory()
    build = partial(settings.model.factory(), data.spec, settings.backbone.factory(), **optimization)
    return partial(ensemble_of, build, settings.ensemble)


def build_model(settings: Settings, data: SequenceData) -> SequenceModel:
    """Return the untrained model."""
    build = model_builder(settings, data)
    try:
        refuse_oversized(build)
        model = build()
    except ValueError as error:  # raised by the backbone for contradictory arguments
        raise RequestError(f"backbone: {error}") from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("memory|overflow", str(error)):
            raise
        raise RequestError("the network does not fit into memory; set a smaller backbone.hidden_size") from error
    check_optimizer(settings.optimizer, model.parameters())
    return model


def check_optimizer(optimizer: Part, parameters: Iterable[torch.nn.Parameter]) -> None:
    """Check the optimiser's arguments by constructing it, such as a learning rate that must not be negative.

    Raises:
        RequestError: the optimiser rejects its arguments.
    """
    try:
        optimizer.factory()(parameters)
    except (TypeError, ValueError) as error:
        raise RequestError(f"optimizer: {error}") from error


def build_trainer(
    settings: Settings, folder: Path, callbacks: list[L.Callback], profiler: Profiler | None = None
) -> L.Trainer:
    """Return Lightning's Trainer with the configured callbacks and loggers and cellstate's own."""
    chosen = [part.build() for part in settings.callbacks.values()]
    if settings.quiet:
        chosen = [callback for callback in chosen if not isinstance(callback, Progress)]
    loggers = build_loggers(settings)
    if not loggers:
        chosen = [callback for callback in chosen if not isinstance(callback, GradientNorm)]
    here = environment()
    nodes, profiling = (settings.trainer.values.get(key) for key in ("num_nodes", "profiler"))
    if here is not None and nodes not in (None, 1):
        raise RequestError(
            f"trainer.num_nodes={nodes}: start multi-node training with torchrun or srun, see docs/processes.md"
        )
    try:
        trainer = settings.trainer.build(
            # Checkpoints come last: callbacks that reject a step raise before they are written.
            callbacks=[*chosen, *callbacks],
            logger=loggers or False,
            default_root_dir=str(folder),
            plugins=[checkpoint.AtomicCheckpointIO(), *([] if here is None else [here])],
            profiler=profiler or profiling or NoProfiler(),
        )
    except Exception as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        if "No supported gpu backend" in reason:
            reason = "no GPU is available; use trainer=cpu, or trainer=default for automatic selection"
        raise RequestError(f"trainer: {reason}") from error
    if isinstance(trainer.strategy, FSDPStrategy) and any(isinstance(one, WeightAveraging) for one in chosen):
        raise RequestError("callbacks.weight_averaging: weights sharded by trainer=fsdp cannot be averaged; use ddp")
    return check_number(trainer, "trainer.devices")


def build_loggers(settings: Settings) -> list[Logger]:
    """Return the configured loggers.

    Raises:
        RequestError: a package is not installed, or an argument is invalid.
    """
    loggers = []
    for name, part in settings.loggers.items():
        try:
            loggers.append(part.build())
        except InstantiationException as error:
            if isinstance(error.__cause__, RequestError):
                raise error.__cause__ from error
            raise RequestError(f"logger.{name}: {str(error.__cause__ or error).splitlines()[0]}") from error
    return loggers
