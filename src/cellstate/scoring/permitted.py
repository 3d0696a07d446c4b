"""The config that a run folder holds, read as data: a folder may come from anywhere.

Where a command line composes a config, it is as free as Hydra makes it. What a folder recorded may name cellstate's own
classes and those of torch and Lightning that are listed here, and what the user trusts; it holds values and no
interpolations, and nothing in it decides where something is written.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch import callbacks, loggers
from omegaconf import DictConfig, OmegaConf
from torch import optim

from cellstate import logger, scheduler
from cellstate.callbacks import Checkpoints, GradientNorm, Progress
from cellstate.checkpoint.trust import (
    Listed,
    RecordError,
    Trust,
    check_name,
    check_plain,
    is_of,
    resolved,
    trusted_packages,
    within,
)
from cellstate.data import TextData
from cellstate.debug import Fast, Overfit, Preset, Profile
from cellstate.errors import RequestError
from cellstate.runs.ledger import COLUMNS, line
from cellstate.runs.yaml_file import read_yaml
from cellstate.scoring.rebuild import BACKBONES, DATA, MODELS

OPTIMIZERS = Listed(
    "optimizer",
    ("torch.optim",),
    (
        *(optim.Adadelta, optim.Adafactor, optim.Adagrad, optim.Adam, optim.Adamax, optim.AdamW, optim.ASGD),
        *(optim.LBFGS, optim.NAdam, optim.RAdam, optim.RMSprop, optim.Rprop, optim.SGD),
    ),
    optim.Optimizer,
)
SCHEDULERS = Listed("scheduler", ("cellstate.scheduler",), (scheduler.plateau, scheduler.warmup_cosine))
# Those of Lightning's that write no files of their own and call nothing that a config could name.
CALLBACKS = Listed(
    "callbacks",
    ("lightning.pytorch.callbacks", "cellstate.callbacks"),
    (
        *(Progress, GradientNorm, callbacks.EarlyStopping, callbacks.LearningRateMonitor, callbacks.DeviceStatsMonitor),
        *(callbacks.GradientAccumulationScheduler, callbacks.StochasticWeightAveraging, callbacks.Timer),
        *(callbacks.ModelSummary, callbacks.RichModelSummary, callbacks.TQDMProgressBar, callbacks.RichProgressBar),
    ),
    L.Callback,
)
LOGGERS = Listed(
    "logger",
    ("cellstate.logger", "lightning.pytorch.loggers"),
    (
        *(logger.CSVLogger, logger.MLFlowLogger, logger.TensorBoardLogger, logger.WandbLogger),
        *(loggers.CSVLogger, loggers.TensorBoardLogger, loggers.WandbLogger),
    ),
    loggers.Logger,
)
WITH_FOLDERS = (loggers.CSVLogger, loggers.TensorBoardLogger)  # whose name is one in the path to their files
# What a recorded logger may be told: nothing of where it sends things to.
LOGGER_ARGUMENTS = {
    *("name", "version", "prefix", "save_dir", "sub_dir", "flush_logs_every_n_steps", "log_graph", "default_hp_metric"),
    *("experiment_name", "init_timeout", "finish_timeout"),
    *("id", "project", "entity", "group", "job_type", "tags", "notes", "offline", "mode", "resume", "log_model"),
}
TRAINERS = Listed("trainer", ("lightning", "lightning.pytorch"), (L.Trainer,), L.Trainer)
KEEPERS = Listed("checkpoint", ("cellstate.callbacks",), (Checkpoints,), Checkpoints)
BUILT = (DATA, MODELS, BACKBONES)  # to score and to predict
PRESETS = Listed("debug", ("cellstate.debug",), (Fast, Overfit, Profile), Preset)
PARTS = (*BUILT, OPTIMIZERS, SCHEDULERS, KEEPERS, TRAINERS, PRESETS)
SECTIONS = {"data", "model", "backbone", "optimizer", "trainer", "checkpoint"}
GROUPS = (CALLBACKS, LOGGERS)  # of which there may be several
LEDGER = "outputs/ledger.csv"
MOST_PROCESSES = max(64, os.cpu_count() or 1)


def read_config(folder: Path, trust: Trust = (), ledger: str | None = None) -> DictConfig:
    """Return the config of a run folder, to go on with it.

    Args:
        folder: the run's.
        trust: packages whose classes it may name besides those that are listed here.
        ledger: where looks at the test split are noted; None takes the run's own, if it is a ledger already, else the
            usual one.

    Raises:
        RequestError: there is none; or it names what is neither listed nor trusted, holds interpolations, or would
            write outside of the folder.
    """
    file = folder / "config.yaml"
    try:
        values = read_yaml(file)
    except OSError as error:
        raise RequestError(
            f"run={folder}: it ended before it began (it has no config.yaml); start a new run"
        ) from error
    if not isinstance(values, dict) or not values.keys() >= SECTIONS:
        raise RequestError(f"{file}: is no config of a run; it was changed")
    try:
        for listed, place, node in nodes(values):
            check_node(listed, place, node, folder, trust)
    except RequestError as error:
        raise RequestError(*(f"{file}: {problem}" for problem in error.problems)) from error
    check_processes(file, values.get("trainer"))
    data, kind = values["data"], resolved(values["data"]["_target_"], DATA, trust)
    if issubclass(kind, TextData) and "cache" in data and not is_cache(data["cache"]):
        data["cache"] = None  # the usual one will do: what comes out is the same
    if ledger is not None or not is_ledger(values.get("ledger")):
        values["ledger"] = ledger or LEDGER
    return OmegaConf.create(values)


def check_names(config: Mapping[str, Any], trust: Trust = ()) -> None:
    """Refuse the config of a checkpoint that names, in any part and at any depth, what is neither listed nor trusted.

    Of most parts nothing is built to score or to predict, so that nothing is imported to tell, and a package that is
    trusted need not be installed.

    Raises:
        RequestError: names the part.
    """
    packages = trusted_packages(trust)
    for listed, place, node in nodes(config, needed={listed.part for listed in BUILT}):
        if not isinstance(node, Mapping):
            raise RecordError(f"{place}: names no class; it was changed")
        check_name(node.get("_target_"), listed, trust)
        arguments = {key: value for key, value in node.items() if key != "_target_"}
        if listed in BUILT or not all(is_of(one.get("_target_"), packages) for one in of_hydra(arguments)):
            check_plain(arguments, place)


def of_hydra(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all mappings in plain values that have keys which mean something to Hydra."""
    if isinstance(value, Mapping):
        if any(str(key).startswith("_") for key in value):
            yield value
        value = tuple(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from of_hydra(part)


def nodes(values: Mapping[str, Any], needed: Container[str] = SECTIONS) -> Iterator[tuple[Listed, str, Any]]:
    """Yield all parts of a config that name a class: the list for it, its key, and what stands there.

    Args:
        values: the config.
        needed: parts that it must have; of others there may be none.
    """
    for listed in PARTS:
        if listed.part in needed or values.get(listed.part):  # there may be no scheduler, and no preset
            yield listed, listed.part, values[listed.part]
    for listed in GROUPS:
        group = values.get(listed.part) or {}
        if not isinstance(group, Mapping):
            raise RequestError(f"{listed.part}: holds no names; it was changed")
        for name, node in group.items():
            if node is not None:
                yield listed, f"{listed.part}.{name}", node


def check_node(listed: Listed, place: str, node: Any, folder: Path, trust: Trust) -> None:
    """Refuse a part that names what it must not, or tells a logger to write or send things elsewhere."""
    if not isinstance(node, Mapping):
        raise RequestError(f"{place}: names no class; it was changed")
    found = resolved(node.get("_target_"), listed, trust)
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    check_plain(arguments, place)
    if listed is LOGGERS and not within(found.__module__, trusted_packages(trust)):
        for key, value in arguments.items():
            check_of_logger(found, f"{place}.{key}", key, value, folder)


def check_of_logger(cls: type, place: str, key: str, value: Any, folder: Path) -> None:
    """Refuse an argument that has a logger write outside of the run folder, or send to a server of the config's own."""
    if value is None:
        return
    if key not in LOGGER_ARGUMENTS:
        raise RequestError(f"{place}: is taken from a recorded config only if you trust it: trust=[{cls.__module__}]")
    if key in ("save_dir", "sub_dir") and not lies_in(Path(str(value)), folder):
        raise RequestError(f"{place}={str(value)[:200]!r}: lies outside of the run folder; it is refused")
    in_path = ("version", "id") if cls not in WITH_FOLDERS else ("name", "version")
    if key in in_path and {"/", "\\", ".."} & set(_pieces(str(value))):
        raise RequestError(f"{place}={str(value)[:200]!r}: leads out of its folder; it is refused")


def _pieces(text: str) -> Iterator[str]:
    yield from text
    yield from Path(text).parts


def lies_in(path: Path, folder: Path) -> bool:
    """Say whether a path, links followed, is a folder or lies in it."""
    return path.resolve().is_relative_to(folder.resolve())


def check_processes(file: Path, trainer: Any) -> None:
    """Refuse more processes than a machine has use for: each would be started."""
    devices = trainer.get("devices") if isinstance(trainer, Mapping) else None
    wanted = len(devices) if isinstance(devices, list) else devices
    if isinstance(wanted, str):
        wanted = int(wanted) if wanted.isdecimal() and len(wanted) < 20 else wanted.count(",") + 1
    if isinstance(wanted, (int, float)) and wanted > MOST_PROCESSES:
        raise RequestError(f"{file}: trainer.devices={wanted} are more than {MOST_PROCESSES}; it was changed")


def is_cache(path: Any) -> bool:
    """Say whether a folder is a cache of texts already; one that a config names is not made, nor written to."""
    folder = Path(path).expanduser() if isinstance(path, str) else None
    return folder is not None and folder.is_dir() and any(folder.glob("*.tokens"))


def is_ledger(path: Any) -> bool:
    """Say whether a file is a ledger already; one that a config names is not made, nor is a line added to another."""
    file = Path(path).expanduser() if isinstance(path, str) else None
    if file is None or not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.readline(4096).decode("utf-8", "replace").strip() == line(COLUMNS).strip()


def check_links(folder: Path) -> None:
    """Refuse a run folder with links to outside of it: what is written there would be written elsewhere.

    Within ``wandb/`` there may be some, as W&B itself links to its logs, and writes to no folder but a new one.

    Raises:
        RequestError: names the first one.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            entry = Path(place) / name
            if entry.is_symlink() and not lies_in(entry, folder):
                raise RequestError(
                    f"{entry}: is a link to {entry.readlink()}, outside of the run folder; put the real one there"
                )
        if Path(place) == folder:
            folders[:] = [name for name in folders if name != "wandb"]
