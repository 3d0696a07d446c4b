"""The output folder of an inspection: always a new or empty one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from cellstate.errors import RequestError, not_written

FOLDER = Path("outputs/inspections")
LONGEST = 80  # characters of the experiment's name in a path


def check_empty(output: str | Path | None) -> None:
    """Raise RequestError for a folder that is not empty, before the work is done."""
    if output is None:
        return
    folder = Path(output).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        raise RequestError(f"output={output}: the folder is not empty; choose another one")
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"output={output}: is a file; choose a folder")


def claim(output: str | Path | None, experiment: str) -> Path:
    """Create the given folder, or a new one named by experiment and time."""
    moment = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = place_of(output, experiment)
    if output is None:
        folder /= moment
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if output is not None:
            folder.mkdir(exist_ok=True)
            check_empty(output)
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
    """Create the folder like ``claim``; if the body of the ``with`` statement fails, remove it again."""
    wanted = place_of(output, experiment)
    made = [place for place in (wanted, *wanted.parents) if not place.exists()]
    folder = claim(output, experiment)
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # the first error is the one to report
            for part in folder.iterdir():
                shutil.rmtree(part) if part.is_dir() else part.unlink()
            own = [folder] if output is None else []
            for place in own + made:
                place.rmdir()  # unless another process has written there
        raise


def place_of(output: str | Path | None, experiment: str) -> Path:
    """Return the given folder, or the parent of all inspections of an experiment."""
    if output is not None:
        return Path(output).expanduser()
    return FOLDER / (
        "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in experiment)[:LONGEST].strip(".")
        or "network"
    )
