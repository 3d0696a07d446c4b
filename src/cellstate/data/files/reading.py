"""Opening a user's file, with helpful errors if that fails."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from cellstate.errors import RequestError

NEAR = 0.75  # least difflib ratio at which a file name counts as a typo of another


def existing_file(path: str, key: str) -> Path:
    """Return the path of a readable, non-empty file.

    Raises:
        RequestError: it does not exist (a similar name in its folder is suggested), is a folder, unreadable, or empty.
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
            if file.stat().st_size == 0:  # also excludes /proc, whose files may contain secrets
                raise RequestError(f"{key}={path}: the file is empty")
    except OSError as error:
        raise RequestError(f"{key}={path}: cannot be read ({error.strerror}); check its permissions") from error
    return file


def utf8_text(file: Path, path: str) -> str:
    """Return the text of a file without its byte order mark; ``path`` is the name of the file in errors.

    Raises:
        RequestError: bytes are not valid UTF-8; the line is named.
    """
    raw = file.read_bytes()
    try:
        return raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RequestError(
            f"{path}, line {line}: byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        ) from error


def utf8_lines(path: str, key: str) -> list[str]:
    """Return the lines of a UTF-8 file, without line ends; raises like ``existing_file`` and ``utf8_text``."""
    return [line.rstrip("\r") for line in utf8_text(existing_file(path, key), path).split("\n")]


def near_name(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the file name that ``name`` is a typo of, else a hint to check the path.

    Only stems are compared, ignoring case: many files in a folder may share a suffix.
    """

    def likeness(other: str) -> float:
        one, two = (Path(word).stem.lower() for word in (name, other))
        return difflib.SequenceMatcher(None, one, two).ratio()

    nearest = max(sorted(known), key=likeness, default=None)
    if nearest is not None and likeness(nearest) >= NEAR:
        return f"; did you mean '{nearest}'?"
    return "; check the path"
