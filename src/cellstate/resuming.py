"""Going on with a run that was interrupted or killed, in its own folder, with the config that it began with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cellstate.config import plain
from cellstate.errors import RequestError
from cellstate.experiment import Run, recorded, run
from cellstate.runs.folder import read_manifest

ASIDE = {"run", "resume", "quiet", "report", "ledger"}  # keys that say how a command was given, not what it trains


def resume(folder: Path, *, quiet: bool = False) -> Run | None:
    """Go on with a run; return None where there is nothing left to do.

    Raises:
        RequestError: the folder holds no run, another process works on it, or its data is another now.
    """
    if read_manifest(folder).get("status") == "completed":
        return None
    try:
        config = OmegaConf.load(folder / "config.yaml")
    except OSError as error:
        raise RequestError(
            f"run={folder}: it ended before it began (it has no config.yaml); start a new run"
        ) from error
    assert isinstance(config, DictConfig)
    config.quiet = quiet
    return run(config, folder, again=True)


def find_unfinished(config: DictConfig, folder: Path) -> Path | None:
    """Return the run that ``resume=auto`` means: of this very config, in ``folder`` itself, else the newest beside it.

    A run in ``folder`` counts also if it is complete, as the command names it.
    """
    wanted = trained(recorded(config))
    if is_run_of(folder, wanted):
        return folder
    beside = sorted(folder.parent.glob("*"), key=lambda path: path.name, reverse=True)
    return next(
        (place for place in beside if is_run_of(place, wanted) and read_manifest(place).get("status") != "completed"),
        None,
    )


def is_run_of(place: Path, wanted: dict[str, Any]) -> bool:
    """Say whether a folder holds a run of a config."""
    file = place / "config.yaml"
    return (place / "manifest.json").is_file() and file.is_file() and trained(plain(OmegaConf.load(file))) == wanted


def trained(config: dict[str, Any]) -> dict[str, Any]:
    """Return what of a config decides on the training."""
    return {key: value for key, value in config.items() if key not in ASIDE}
