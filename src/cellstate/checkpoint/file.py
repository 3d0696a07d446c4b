"""Checkpoint files: written atomically, and checked before use.

There are two kinds: files to share (``format.py``) and files to resume from (``resumable.py``); both can be read.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from typing_extensions import override

from cellstate.checkpoint import format, resumable
from cellstate.checkpoint.format import ForeignError
from cellstate.checkpoint.record import KEY, check_content
from cellstate.checkpoint.seal import BrokenError
from cellstate.checkpoint.values import RefusedError, check_values
from cellstate.errors import RequestError, RunError, did_you_mean, not_written
from cellstate.runs.memory import memory_bytes

SHARED = {"state_dict", KEY}  # content of a checkpoint to share


class DamagedError(RequestError):
    """The checkpoint is damaged; another copy may be intact."""


class ForeignFileError(RequestError):
    """Another program wrote the file."""


def write(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically: to a temporary file, synced to disk, which then replaces ``path``.

    Args:
        content: weights and record for a file to share; also Lightning's state for one to resume from.
        path: the file.

    Raises:
        RunError: the disk is full or not writable, or the content could not be read again; an existing file is
            unchanged.
    """
    try:
        written = packed(content)
    except RefusedError as error:
        raise RunError(
            f"{path}: cannot be written: {error}; store only plain values and tensors in a checkpoint"
        ) from error
    draft = path.with_suffix(".tmp")
    try:
        draft.unlink(missing_ok=True)  # left by a killed run; a link is not followed
        with draft.open("xb") as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise not_written(path, error, "; the previous checkpoint is intact" if path.exists() else "") from error


def packed(content: dict[str, Any]) -> bytes:
    """Return the content of the file of a checkpoint.

    Raises:
        RefusedError: it could not be read again.
    """
    if content.keys() > SHARED:
        return resumable.pack(content)
    check_values(content[KEY], place=KEY)
    return format.pack(content["state_dict"], content[KEY])


def keep(path: Path, name: str) -> None:
    """Keep a checkpoint that is about to be replaced under another name, replacing a file of that name.

    Raises:
        RunError: the folder is not writable; both files are unchanged.
    """
    draft = path.with_name(f"{name}.tmp")
    try:
        draft.unlink(missing_ok=True)
        try:
            draft.hardlink_to(path)  # copies nothing
        except OSError:  # not supported by the file system
            shutil.copyfile(path, draft)
        draft.replace(path.with_name(name))
        draft.unlink(missing_ok=True)  # a rename does nothing if both names are links to the same file
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise not_written(path.with_name(name), error, "; the previous checkpoint is intact") from error


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lets Lightning write checkpoints with ``write`` and read them with ``read``."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write one checkpoint."""
        write(checkpoint, Path(path))

    @override
    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Read one checkpoint to resume from, to the CPU; Lightning moves it to other devices."""
        return read(path, to_resume=True)


def read(path: str | Path, *, to_resume: bool = False) -> dict[str, Any]:
    """Read a checkpoint written by cellstate. Its content is untrusted and no code in it is executed.

    Args:
        path: a file, or a run folder (its ``checkpoints/best.ckpt``, else ``last.ckpt``).
        to_resume: whether a run resumes from it.

    Returns:
        Weights as ``state_dict`` and the record as ``cellstate``; for a file to resume from, also Lightning's state.

    Raises:
        DamagedError: the file was truncated or modified.
        ForeignFileError: another program wrote it.
        RequestError: no such file, not a checkpoint of cellstate, or of another format.
    """
    file = find(path)
    with explaining(file):
        content = checked(file)
        if kind_of(content) is resumable:
            found = resumable.unpack(content)
        else:
            weights, record = format.unpack(content)
            check_values(record)
            found = {"state_dict": weights, KEY: record}
        check_content(found, to_resume=to_resume)
        return found


def verify(path: Path) -> None:
    """Check the checksum of a checkpoint, without reading its content.

    Raises:
        DamagedError: the file was truncated or modified.
        RequestError: it is not a checkpoint.
    """
    with explaining(path):
        checked(path)


def checked(file: Path) -> bytes:
    """Return the bytes of a checkpoint with a valid checksum.

    Raises:
        RefusedError: the checksum is wrong, or the file is larger than this machine's memory.
    """
    size = file.stat().st_size
    if size > memory_bytes():
        raise RefusedError(f"has {size:,} bytes, more than this machine's memory")
    content = file.read_bytes()
    kind_of(content).check(content)
    return content


def kind_of(content: bytes) -> ModuleType:
    """Return the module for a file, by its first bytes.

    Raises:
        RefusedError: unknown format.
    """
    if not content:  # possible after a power failure
        raise BrokenError("is empty")
    if content.startswith((resumable.START, resumable.LEGACY)):
        return resumable
    if content[format.LENGTH : format.LENGTH + 1] == b"{":
        return format
    raise RefusedError("not a checkpoint of cellstate, or damaged; no code in it was executed")


@contextmanager
def explaining(file: Path) -> Iterator[None]:
    """Turn errors in reading a file into errors that name it."""
    try:
        yield
    except BrokenError as error:
        raise DamagedError(f"{file}: {error}; use another copy of it") from error
    except ForeignError as error:
        raise ForeignFileError(f"{file}: {error}; give a run folder, or its best.ckpt") from error
    except RefusedError as error:
        raise RequestError(f"{file}: {error}") from error
    except PermissionError as error:
        raise RequestError(f"{file}: cannot be read ({error.strerror or error}); check its permissions") from error
    except OSError as error:
        raise RequestError(f"{file}: cannot be read ({error.strerror or error}); check the disk") from error
    except Exception as error:  # torch and pickle raise many kinds of errors on invalid files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(f"{file}: cannot be loaded ({reason[:200]}); give a file written by cellstate") from error


def find(path: str | Path) -> Path:
    """Return the checkpoint file of a path: the file itself, or the best one of a run folder.

    Raises:
        RequestError: no checkpoint found.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "best.ckpt", "last.ckpt"):
            if (file / name).is_file():
                return file / name
        raise RequestError(f"checkpoint={path}: the folder has no checkpoints/best.ckpt")
    if not file.is_file():
        near = list(file.parent.iterdir()) if file.parent.is_dir() else []
        hint = did_you_mean(file.name, (entry.name for entry in near))
        if "did you mean" not in hint:
            runs = [entry for entry in near if (entry / "checkpoints").is_dir()]
            newest = max(runs, key=lambda run: run.stat().st_mtime, default=None)
            hint = "" if newest is None else f"; the newest run there is {newest}"
        raise RequestError(f"checkpoint={path}: no such file{hint}")
    return file
