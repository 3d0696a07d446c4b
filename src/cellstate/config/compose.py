"""Compose a config, for the command line and for Python, and adapt it to a run or a sweep."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from cellstate.config.explain import explain
from cellstate.config.paths import config_folder, hydra_for, search_path
from cellstate.errors import RequestError

OF_SWEEP = ("sweep.json", "study.journal")  # the folder of every search contains one of them


def register_resolvers() -> None:
    """Register ``${run_id:}``, eight hexadecimal digits drawn once for each config, and ``${experiment_folder:}``.

    The digits identify a run in all loggers. With only six digits, a collision among 5000 runs would be likely.
    """
    OmegaConf.register_new_resolver("run_id", lambda: secrets.token_hex(4), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("experiment_folder", experiment_folder, replace=True)


def experiment_folder(*, _root_: DictConfig) -> str:
    """Return the folder of an experiment's runs: its name, prefixed with that of the search that found it, if any."""
    runtime = _root_.hydra.runtime
    name = str(runtime.choices.get("experiment"))
    place = own_folder(runtime.config_sources, name)
    if place is None or not any((place / file).exists() for file in OF_SWEEP):
        return name
    return f"{place.name}_{name}"


def own_folder(sources: Sequence[Mapping[str, Any]], experiment: str) -> Path | None:
    """Return the user's config folder that contains an experiment; None for one of cellstate's."""
    for source in sources:
        place = Path(source["path"]).resolve()
        if source["schema"] == "file" and (place / "experiment" / f"{experiment}.yaml").is_file():
            return None if place == config_folder() else place
    return None


def compose(name: str, overrides: Sequence[str], *, config_dir: str | Path | None = None) -> tuple[DictConfig, Path]:
    """Compose a primary config as Hydra's command line does.

    Returns:
        The config, and its run folder.

    Raises:
        RequestError: an unknown or invalid override.
    """
    register_resolvers()
    if config_dir is not None and not Path(config_dir).expanduser().is_dir():
        raise RequestError(f"config_dir={config_dir}: no such folder")
    overrides = [*overrides, *search_path(config_dir)]
    try:
        with hydra_for(name):
            config = hydra_compose(name, list(overrides), return_hydra_config=True)
            folder = Path(config.hydra.run.dir)
            of_one_run(config, config.hydra.runtime.choices.get("experiment"))
    except Exception as error:
        explanation = explain(error, name, overrides)
        raise explanation from (None if explanation is error else error)
    with open_dict(config):
        config.pop("hydra")
    return config, folder


def of_one_run(config: DictConfig, choice: str | None) -> None:
    """Turn a composed config into that of one run, in place.

    It records the name of its experiment, and drops the section of the comparison that the run belongs to.

    Raises:
        RequestError: the experiment's keys are nested under ``experiment``, where they have no effect.
    """
    named = config.get("experiment")
    if OmegaConf.is_dict(named):
        raise RequestError(
            f"experiment={choice}: its keys have no effect outside the package 'experiment'; add "
            "'# @package _global_' as the first line of its file"
        )
    with open_dict(config):
        config.experiment = str(choice or named or "custom")
        config.pop("comparison", None)


def in_sweep() -> bool:
    """Whether this process runs a job of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def lock_in_sweep(config: DictConfig) -> None:
    """Lock the test split of a job of a multirun, as runs must not be selected by test scores."""
    if in_sweep():
        with open_dict(config):
            config.test = False


def reject_search(config: DictConfig) -> None:
    """Raise RequestError if the config of a single run requests a search."""
    if "space" in (config.get("sweep") or {}):
        raise RequestError("sweep: is a search, which consists of many runs; use cellstate train -m")
