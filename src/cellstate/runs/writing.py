"""A file that a user asks for: nothing is written over unasked, and it comes to be whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cellstate.errors import RequestError, not_written


def output_path(path: str, *, overwrite: bool) -> Path:
    """Return the path of a file to be written.

    Raises:
        RequestError: something is there already and ``overwrite`` is off, it is a folder, or its folder is not there.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise RequestError(f"output={path}: is a folder; name a file in it")
    if file.exists() and not overwrite:
        raise RequestError(f"output={path}: is there already; name another file, or set overwrite=true")
    if not file.parent.is_dir():
        raise RequestError(f"output={path}: there is no folder {file.parent}; make it first, or name another file")
    return file


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a draft beside ``path``, and put it there when it is complete.

    Raises:
        RunError: the disk is full or cannot be written; what stood there is untouched.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(draft)
        draft.replace(path)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
