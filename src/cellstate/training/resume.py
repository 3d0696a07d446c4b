"""Resume an interrupted or killed run in its own folder with its original config."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cellstate import checkpoint
from cellstate.callbacks.checkpoints import newest_intact
from cellstate.checkpoint.trust import Trust
from cellstate.config.check import HOW_GIVEN, recorded
from cellstate.errors import RequestError
from cellstate.runs.folder import read_manifest
from cellstate.runs.yaml_file import read_yaml
from cellstate.scoring.permitted import check_links, read_config
from cellstate.training.run import Run, run


def resume(
    folder: Path, *, quiet: bool = False, trust: Trust = (), ledger: str | None = None, config: DictConfig | None = None
) -> Run | None:
    """Resume a run; return None if it is completed.

    Args:
        folder: the run folder. Its content is untrusted; see ``scoring.permitted``.
        quiet: print neither the summary of the model nor the table of results.
        trust: extra packages whose classes the config may name.
        ledger: file that records evaluations on a test split; None: the ledger of the run, if it exists.
        config: the config of the run if the user gave it; None: the one in the folder.

    Raises:
        RequestError: the folder has no run that can be resumed, another process is working on it, or its data has
            changed.
    """
    if read_manifest(folder).get("status") == "completed":
        return None
    config = read_config(folder, trust, ledger) if config is None else config
    check_links(folder)
    check_checkpoints(folder)
    config.quiet = quiet
    with explaining_failed_restore(folder):
        return run(config, folder, again=True)


def check_checkpoints(folder: Path) -> None:
    """Check the checkpoints before anything is done.

    Raises:
        RequestError: a checkpoint is damaged.
    """
    best = folder / "checkpoints" / "best.ckpt"
    try:
        newest = newest_intact(folder / "checkpoints")
        if newest is not None:
            checkpoint.read(newest, to_resume=True)
        if best.exists():
            checkpoint.verify(best)
    except checkpoint.DamagedError as error:
        raise RequestError(
            f"{error.problems[0]}, or remove {folder / 'checkpoints'}, and run={folder} starts from scratch"
        ) from error


@contextmanager
def explaining_failed_restore(folder: Path) -> Iterator[None]:
    """Turn errors that Lightning raises while restoring a checkpoint into one line."""
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if not any("checkpoint_connector" in frame.filename for frame in traceback.extract_tb(error.__traceback__)):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(
            f"{folder / 'checkpoints' / 'last.ckpt'}: cannot be restored ({reason}); it was modified, or "
            f"belongs to another run: remove {folder / 'checkpoints'}, and run={folder} starts from scratch"
        ) from error


def find_unfinished(config: DictConfig, folder: Path) -> Path | None:
    """Return the run that ``resume=auto`` selects: with this config, ``folder`` itself or its newest sibling.

    A completed run is only selected in ``folder`` itself.
    """
    wanted = trained(recorded(config))
    if is_run_of(folder, wanted):
        return folder
    siblings = sorted(folder.parent.glob("*"), key=lambda path: path.name, reverse=True)
    return next(
        (place for place in siblings if is_run_of(place, wanted) and read_manifest(place).get("status") != "completed"),
        None,
    )


def is_run_of(place: Path, wanted: dict[str, Any]) -> bool:
    """Return whether a folder contains a run of a config."""
    file = place / "config.yaml"
    if not (place / "manifest.json").is_file() or not file.is_file():
        return False
    try:
        return trained(read_yaml(file)) == wanted
    except (RequestError, AttributeError):  # not a config of a run
        return False


def trained(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a config that determines the training."""
    return {key: value for key, value in config.items() if key not in HOW_GIVEN}
