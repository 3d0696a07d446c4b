"""The folder that an inspection is written into: never one that holds something already."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    folder = place_of(output, experiment)
    if output is None:
        folder /= moment
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


@contextmanager
def writing(output: str | Path | None, experiment: str) -> Iterator[Path]:
    """Make the folder as ``claim`` does, to be written into; where that fails, nothing is left of it.

    Raises:
        RequestError: it holds something by now.
        RunError: it cannot be made.
    """
    wanted = place_of(output, experiment)
    made = [place for place in (wanted, *wanted.parents) if not place.exists()]
    folder = claim(output, experiment)
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # what went wrong before is what is told
            for part in folder.iterdir():
                shutil.rmtree(part) if part.is_dir() else part.unlink()
            own = [folder] if output is None else []
            for place in own + made:
                place.rmdir()  # unless something else has come to stand there
        raise


def place_of(output: str | Path | None, experiment: str) -> Path:
    """Return the folder that was asked for, or the one that holds all inspections of an experiment."""
    if output is not None:
        return Path(output).expanduser()
    return FOLDER / (
        "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in experiment)[:LONGEST].strip(".")
        or "network"
    )
