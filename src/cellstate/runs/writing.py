"""Write files atomically, and check output paths given by the user."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cellstate.errors import RequestError, not_written


def output_path(path: str, *, overwrite: bool) -> Path:
    """Return the path of a file to be written.

    Raises:
        RequestError: the file exists and ``overwrite`` is off, it is a folder, or its folder does not exist.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise RequestError(f"output={path}: is a folder; give a file in it")
    if file.exists() and not overwrite:
        raise RequestError(f"output={path}: already exists; give another file, or set overwrite=true")
    if not file.parent.is_dir():
        raise RequestError(f"output={path}: no such folder: {file.parent}; create it, or give another file")
    return file


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file atomically: ``write`` fills a temporary file, which then replaces ``path``. Creates its folder.

    Raises:
        RunError: the disk is full or not writable; an existing file is unchanged.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        write(draft)
        draft.replace(path)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a header of all their keys; missing values are empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, dict.fromkeys(name for row in rows for name in row))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
