"""Opening a user's file, with the answers that a user needs when that fails."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from cellstate.errors import RequestError

NEAR = 0.75  # of difflib's ratio, from which on one file name is taken for a slip of another


def existing_file(path: str, key: str) -> Path:
    """Return the path of a readable, non-empty file.

    Raises:
        RequestError: it is not there (a name in its folder is offered, if one is near), a folder, unreadable, or empty.
    """
    file = Path(path).expanduser()
    if not file.exists():
        folder = file.parent
        hint = "; its folder does not exist either"
        if folder.is_dir():
            hint = near_name(file.name, (entry.name for entry in folder.iterdir() if entry.is_file()))
        raise RequestError(f"{key}={path}: no such file{hint}")
    if not file.is_file():
        raise RequestError(f"{key}={path}: not a file; name one file")
    try:
        with file.open("rb"):
            if file.stat().st_size == 0:  # so are those in /proc, which hold what the system makes up: passwords, too
                raise RequestError(f"{key}={path}: the file is empty")
    except OSError as error:
        raise RequestError(f"{key}={path}: cannot be read ({error.strerror}); check its permissions") from error
    return file


def near_name(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the file name that ``name`` is a slip of, else what to check.

    Suffixes do not count, as half of a folder may share one: the stems must be near, whatever their case.
    """

    def likeness(other: str) -> float:
        one, two = (Path(word).stem.lower() for word in (name, other))
        return difflib.SequenceMatcher(None, one, two).ratio()

    nearest = max(sorted(known), key=likeness, default=None)
    if nearest is not None and likeness(nearest) >= NEAR:
        return f"; did you mean '{nearest}'?"
    return "; check the path"
