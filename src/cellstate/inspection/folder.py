"""The folder that an inspection is written into: never one that holds something already."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cellstate.errors import RequestError, not_written

FOLDER = Path("outputs/inspections")
LONGEST = 80  # characters of an experiment's name in a path


def refuse_taken(output: str | Path | None) -> None:
    """Refuse a folder that holds anything (RequestError), before the work is done."""
    if output is None:
        return
    folder = Path(output).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        raise RequestError(f"output={output}: the folder holds something already; name another one")
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"output={output}: is a file; name a folder")


def claim(output: str | Path | None, experiment: str) -> Path:
    """Make the folder: the one asked for, or a new one named by experiment and time, which nobody else has.

    Raises:
        RequestError: it holds something by now.
        RunError: it cannot be made.
    """
    moment = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    named = (
        "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in experiment)[:LONGEST].strip(".")
        or "network"
    )
    folder = FOLDER / named / moment if output is None else Path(output).expanduser()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if output is not None:
            folder.mkdir(exist_ok=True)
            refuse_taken(output)
            return folder
        number = 1
        while True:
            place = folder if number == 1 else folder.with_name(f"{moment}_{number}")
            try:
                place.mkdir()
            except FileExistsError:
                number += 1
            else:
                return place
    except OSError as error:
        raise not_written(folder, error) from error
