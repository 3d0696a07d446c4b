"""Read the config of a run folder as untrusted data.

A config composed on the command line is unrestricted. A recorded config may only name cellstate's classes, classes of
torch and Lightning listed here, and packages that the user trusts; it must not contain interpolations, nor determine
where files are written.
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
from cellstate.callbacks import Checkpoints, GradientNorm, Progress, WeightAveraging
from cellstate.checkpoint.trust import (
    Listed,
    RecordError,
    Trust,
    check_name,
    check_plain,
    is_of,
    of_hydra,
    resolved,
    trusted_packages,
    within,
)
from cellstate.config.options import LEDGER
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
# Lightning callbacks that neither write files nor call functions named in a config.
CALLBACKS = Listed(
    "callbacks",
    ("lightning.pytorch.callbacks", "cellstate.callbacks"),
    (
        *(Progress, GradientNorm, WeightAveraging, callbacks.EarlyStopping),
        *(callbacks.LearningRateMonitor, callbacks.DeviceStatsMonitor),
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
WITH_FOLDERS = (loggers.CSVLogger, loggers.TensorBoardLogger)  # whose name is part of the path to their files
# Arguments allowed for a recorded logger; none sets a server.
LOGGER_ARGUMENTS = {
    *("name", "version", "prefix", "save_dir", "sub_dir", "flush_logs_every_n_steps", "log_graph", "default_hp_metric"),
    *("experiment_name", "init_timeout", "finish_timeout"),
    *("id", "project", "entity", "group", "job_type", "tags", "notes", "offline", "mode", "resume", "log_model"),
}
TRAINERS = Listed("trainer", ("lightning", "lightning.pytorch"), (L.Trainer,), L.Trainer)
KEEPERS = Listed("checkpoint", ("cellstate.callbacks",), (Checkpoints,), Checkpoints)
BUILT = (DATA, MODELS, BACKBONES)  # needed to score and to predict
PRESETS = Listed("debug", ("cellstate.debug",), (Fast, Overfit, Profile), Preset)
PARTS = (*BUILT, OPTIMIZERS, SCHEDULERS, KEEPERS, TRAINERS, PRESETS)
SECTIONS = {"data", "model", "backbone", "optimizer", "trainer", "checkpoint"}
GROUPS = (CALLBACKS, LOGGERS)  # may have several entries
MOST_PROCESSES = max(64, os.cpu_count() or 1)


def read_config(folder: Path, trust: Trust = (), ledger: str | None = None) -> DictConfig:
    """Return the config of a run folder, to resume the run.

    Args:
        folder: the run folder.
        trust: extra packages whose classes may be loaded.
        ledger: file that records evaluations on a test split; None: the ledger of the run, if it exists, else the
            default.

    Raises:
        RequestError: it is missing, names a class that is neither listed nor trusted, contains interpolations, or
            would write outside of the folder.
    """
    file = folder / "config.yaml"
    try:
        values = read_yaml(file)
    except OSError as error:
        raise RequestError(f"run={folder}: no config.yaml: the run crashed during start-up; start a new run") from error
    if not isinstance(values, dict) or not values.keys() >= SECTIONS:
        raise RequestError(f"{file}: not a config of a run; it was modified")
    try:
        for listed, place, node in nodes(values):
            check_node(listed, place, node, folder, trust)
    except RequestError as error:
        raise RequestError(*(f"{file}: {problem}" for problem in error.problems)) from error
    check_processes(file, values.get("trainer"))
    data, kind = values["data"], resolved(values["data"]["_target_"], DATA, trust)
    if issubclass(kind, TextData) and "cache" in data and not is_cache(data["cache"]):
        data["cache"] = None  # the default cache gives the same result
    if ledger is not None or not is_ledger(values.get("ledger")):
        values["ledger"] = ledger or LEDGER
    return OmegaConf.create(values)


def check_names(config: Mapping[str, Any], trust: Trust = ()) -> None:
    """Reject the config of a checkpoint if any name in it, at any depth, is neither listed nor trusted.

    Most parts are not needed to score or to predict: they are checked without imports, so a trusted package need not be
    installed.

    Raises:
        RequestError: names the section.
    """
    packages = trusted_packages(trust)
    for listed, place, node in nodes(config, needed={listed.part for listed in BUILT}):
        if not isinstance(node, Mapping):
            raise RecordError(f"{place}: has no _target_; it was modified")
        check_name(node.get("_target_"), listed, trust)
        arguments = {key: value for key, value in node.items() if key != "_target_"}
        if listed in BUILT or not all(is_of(one.get("_target_"), packages) for one in of_hydra(arguments)):
            check_plain(arguments, place)


def nodes(values: Mapping[str, Any], needed: Container[str] = SECTIONS) -> Iterator[tuple[Listed, str, Any]]:
    """Yield all sections of a config that name a class: the list of allowed classes, the key, and the section.

    Args:
        values: the config.
        needed: required sections; others are optional.
    """
    for listed in PARTS:
        if listed.part in needed or values.get(listed.part):
            yield listed, listed.part, values[listed.part]
    for listed in GROUPS:
        group = values.get(listed.part) or {}
        if not isinstance(group, Mapping):
            raise RequestError(f"{listed.part}: not a mapping of names; it was modified")
        for name, node in group.items():
            if node is not None:
                yield listed, f"{listed.part}.{name}", node


def check_node(listed: Listed, place: str, node: Any, folder: Path, trust: Trust) -> None:
    """Reject a section with a forbidden name, or a logger that would write or send data elsewhere."""
    if not isinstance(node, Mapping):
        raise RequestError(f"{place}: has no _target_; it was modified")
    found = resolved(node.get("_target_"), listed, trust)
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    check_plain(arguments, place)
    if listed is LOGGERS and not within(found.__module__, trusted_packages(trust)):
        for key, value in arguments.items():
            check_of_logger(found, f"{place}.{key}", key, value, folder)


def check_of_logger(cls: type, place: str, key: str, value: Any, folder: Path) -> None:
    """Reject a logger argument that would write outside of the run folder, or set a server."""
    if value is None:
        return
    if key not in LOGGER_ARGUMENTS:
        raise RequestError(f"{place}: only accepted from a recorded config with trust=[{cls.__module__}]")
    if key in ("save_dir", "sub_dir") and not is_inside(Path(str(value)), folder):
        raise RequestError(f"{place}={str(value)[:200]!r}: outside of the run folder; not allowed in a recorded config")
    in_path = ("version", "id") if cls not in WITH_FOLDERS else ("name", "version")
    if key in in_path and {"/", "\\", ".."} & {*str(value), *Path(str(value)).parts}:
        raise RequestError(f"{place}={str(value)[:200]!r}: outside of its folder; not allowed in a recorded config")


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path, with links resolved, is inside a folder or the folder itself."""
    return path.resolve().is_relative_to(folder.resolve())


def check_processes(file: Path, trainer: Any) -> None:
    """Reject an excessive number of processes."""
    devices = trainer.get("devices") if isinstance(trainer, Mapping) else None
    wanted = len(devices) if isinstance(devices, list) else devices
    if isinstance(wanted, str):
        wanted = int(wanted) if wanted.isdecimal() and len(wanted) < 20 else wanted.count(",") + 1
    if isinstance(wanted, (int, float)) and wanted > MOST_PROCESSES:
        raise RequestError(f"{file}: trainer.devices={wanted}: more than {MOST_PROCESSES}; it was modified")


def is_cache(path: Any) -> bool:
    """Return whether a folder already is a text cache; an untrusted config must not create one."""
    folder = Path(path).expanduser() if isinstance(path, str) else None
    return folder is not None and folder.is_dir() and any(folder.glob("*.tokens"))


def is_ledger(path: Any) -> bool:
    """Return whether a file already is a ledger; an untrusted config must not create or extend other files."""
    file = Path(path).expanduser() if isinstance(path, str) else None
    if file is None or not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.readline(4096).decode("utf-8", "replace").strip() == line(COLUMNS).strip()


def check_links(folder: Path) -> None:
    """Reject a run folder with links to outside, through which a run would write elsewhere.

    ``wandb/`` is exempt: W&B links to its own logs, and always writes to a new folder.

    Raises:
        RequestError: names the first link.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            entry = Path(place) / name
            if entry.is_symlink() and not is_inside(entry, folder):
                raise RequestError(
                    f"{entry}: link to {entry.readlink()}, outside of the run folder; replace it with the file itself"
                )
        if Path(place) == folder:
            folders[:] = [name for name in folders if name != "wandb"]
