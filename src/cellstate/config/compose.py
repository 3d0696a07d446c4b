"""Composing a config, for the command line and for Python, and what becomes of it in a run or a sweep."""

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

OF_SWEEP = ("sweep.json", "study.journal")  # one of them lies in the folder of every search


def register_resolvers() -> None:
    """Make known ``${run_id:}``, eight hexadecimal digits drawn once for each config, and ``${experiment_folder:}``.

    The digits are a run's id wherever it is tracked: of 5000 runs two would share one of six digits more likely than
    not.
    """
    OmegaConf.register_new_resolver("run_id", lambda: secrets.token_hex(4), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("experiment_folder", experiment_folder, replace=True)


def experiment_folder(*, _root_: DictConfig) -> str:
    """Return the folder of the runs of an experiment: its name; before it that of the search that it is the best of."""
    runtime = _root_.hydra.runtime
    name = str(runtime.choices.get("experiment"))
    place = own_folder(runtime.config_sources, name)
    if place is None or not any((place / file).exists() for file in OF_SWEEP):
        return name
    return f"{place.name}_{name}"


def own_folder(sources: Sequence[Mapping[str, Any]], experiment: str) -> Path | None:
    """Return the folder of the user's own that an experiment lies in; None where it is one of cellstate's.

    Args:
        sources: ``hydra.runtime.config_sources``, in the order in which Hydra looks.
        experiment: its name.
    """
    for source in sources:
        place = Path(source["path"]).resolve()
        if source["schema"] == "file" and (place / "experiment" / f"{experiment}.yaml").is_file():
            return None if place == config_folder() else place
    return None


def compose(name: str, overrides: Sequence[str], *, config_dir: str | Path | None = None) -> tuple[DictConfig, Path]:
    """Compose a primary config as Hydra's command line does.

    Returns:
        The config, and the run folder that it leads to.

    Raises:
        RequestError: an override names what is not there, or cannot be parsed.
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
    """Make of what was composed the config of one run, in place.

    It keeps which experiment it came from, unless it is one that a run saved, which knows its own. Of the comparison
    that the run belongs to, it keeps what that sets of the run, but not what it asks of all of its runs.

    Raises:
        RequestError: the experiment's keys lie under ``experiment`` and would change nothing.
    """
    named = config.get("experiment")
    if OmegaConf.is_dict(named):
        raise RequestError(
            f"experiment={choice}: its keys change nothing, as they belong to the experiment alone; "
            "make '# @package _global_' the first line of its file"
        )
    with open_dict(config):
        config.experiment = str(choice or named or "custom")
        config.pop("comparison", None)


def in_sweep() -> bool:
    """Say whether this process runs a job of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def lock_in_sweep(config: DictConfig) -> None:
    """Lock the test split of a job of a multirun, whatever it asks: what is chosen among must not be chosen by it."""
    if in_sweep():
        with open_dict(config):
            config.test = False


def refuse_search(config: DictConfig) -> None:
    """Refuse to train one run of a search as if it were one by itself.

    Raises:
        RequestError: says what asks for a search.
    """
    if "space" in (config.get("sweep") or {}):
        raise RequestError("sweep: is a search, which is many runs; give it to cellstate train -m")
