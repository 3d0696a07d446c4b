"""Opening a user's file, with the answers that a user needs when that fails."""

from __future__ import annotations

from pathlib import Path

from cellstate.errors import RequestError, did_you_mean


def existing_file(path: str, key: str) -> Path:
    """Return the path of a readable, non-empty file.

    Raises:
        RequestError: it is not there (the nearest name in its folder is offered), a folder, unreadable, or empty.
    """
    file = Path(path).expanduser()
    if not file.exists():
        folder = file.parent
        hint = "; its folder does not exist either"
        if folder.is_dir():
            hint = did_you_mean(file.name, (entry.name for entry in folder.iterdir() if entry.is_file()))
        raise RequestError(f"{key}={path}: no such file{hint}")
    if not file.is_file():
        raise RequestError(f"{key}={path}: not a file; name one file")
    try:
        with file.open("rb") as stream:
            if not stream.read(1):
                raise RequestError(f"{key}={path}: the file is empty")
    except OSError as error:
        raise RequestError(f"{key}={path}: cannot be read ({error.strerror}); check its permissions") from error
    return file
