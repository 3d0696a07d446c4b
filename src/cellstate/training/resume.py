"""Going on with a run that was interrupted or killed, in its own folder, with the config that it began with."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cellstate import checkpoint
from cellstate.callbacks.checkpoints import newest_whole
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
    """Go on with a run; return None where there is nothing left to do.

    Args:
        folder: the run's. What it holds is taken for data, as it may come from anywhere; see ``scoring.permitted``.
        quiet: print neither what is trained nor the table of results.
        trust: packages whose classes its config may name besides cellstate's own.
        ledger: where looks at the test split are noted; None takes the run's own, if there is one already.
        config: the config of the run, where the user gave it; None reads the one in the folder.

    Raises:
        RequestError: the folder holds no run, or one that is not taken up; another process works on it; or its data is
            another now.
    """
    if read_manifest(folder).get("status") == "completed":
        return None
    config = read_config(folder, trust, ledger) if config is None else config
    check_links(folder)
    check_checkpoints(folder)
    config.quiet = quiet
    with telling_what_was_changed(folder):
        return run(config, folder, again=True)


def check_checkpoints(folder: Path) -> None:
    """Refuse to go on where no checkpoint is whole, or one is none, before anything is done.

    Raises:
        RequestError: says which one, and how to go on.
    """
    best = folder / "checkpoints" / "best.ckpt"
    try:
        newest = newest_whole(folder / "checkpoints")
        if newest is not None:
            checkpoint.read(newest, to_resume=True)
        if best.exists():
            checkpoint.verify(best)
    except checkpoint.DamagedError as error:
        raise RequestError(
            f"{error.problems[0]}, or remove {folder / 'checkpoints'}, and run={folder} begins anew"
        ) from error


@contextmanager
def telling_what_was_changed(folder: Path) -> Iterator[None]:
    """Turn what Lightning stumbles over in a checkpoint, while it takes it up, into one line."""
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if not any("checkpoint_connector" in frame.filename for frame in traceback.extract_tb(error.__traceback__)):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(
            f"{folder / 'checkpoints' / 'last.ckpt'}: the run cannot go on from it ({reason}); it was changed, or "
            f"is that of another run: remove {folder / 'checkpoints'}, and run={folder} begins anew"
        ) from error


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
    if not (place / "manifest.json").is_file() or not file.is_file():
        return False
    try:
        return trained(read_yaml(file)) == wanted
    except (RequestError, AttributeError):  # no config that a run wrote
        return False


def trained(config: dict[str, Any]) -> dict[str, Any]:
    """Return what of a config decides on the training."""
    return {key: value for key, value in config.items() if key not in HOW_GIVEN}
