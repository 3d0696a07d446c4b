"""Checkpoint files: written whole or not at all, and checked before anything in them is used.

Of two kinds: what is shared (``format.py``), and what a run resumes from (``resumable.py``). Every reader takes either.
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

SHARED = {"state_dict", KEY}  # what a checkpoint has that nothing resumes from


class DamagedError(RequestError):
    """A checkpoint is not what was written any more; another copy of it may be."""


class ForeignFileError(RequestError):
    """Another program wrote the file."""


def write(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically: to a draft beside it, to the disk, then in the place of the one before.

    Args:
        content: weights and record, for a file to be shared; with Lightning's state besides, one to resume from.
        path: where to.

    Raises:
        RunError: the disk is full or cannot be written, or the content holds what could not be read again; what stood
            at ``path`` is untouched.
    """
    try:
        written = packed(content)
    except RefusedError as error:
        raise RunError(
            f"{path}: cannot be written: {error}; keep plain values and tensors in what goes into a checkpoint"
        ) from error
    draft = path.with_suffix(".tmp")
    try:
        draft.unlink(missing_ok=True)  # of a run that was killed; a link to elsewhere is not followed
        with draft.open("xb") as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise not_written(path, error, "; the checkpoint before it is whole" if path.exists() else "") from error


def packed(content: dict[str, Any]) -> bytes:
    """Return the file that holds a checkpoint.

    Raises:
        RefusedError: it holds what could not be read again.
    """
    if content.keys() > SHARED:
        return resumable.pack(content)
    check_values(content[KEY], place=KEY)
    return format.pack(content["state_dict"], content[KEY])


def keep(path: Path, name: str) -> None:
    """Keep a checkpoint, about to be replaced, under another name beside it; what had that name before is gone.

    Raises:
        RunError: nothing can be written there; both are as they were.
    """
    draft = path.with_name(f"{name}.tmp")
    try:
        draft.unlink(missing_ok=True)
        try:
            draft.hardlink_to(path)  # no byte is written
        except OSError:  # a file system that knows no such links
            shutil.copyfile(path, draft)
        draft.replace(path.with_name(name))
        draft.unlink(missing_ok=True)  # a rename leaves it where both names stand for one and the same file
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise not_written(path.with_name(name), error, "; the checkpoint before it is whole") from error


class AtomicCheckpointIO(TorchCheckpointIO):
    """Has Lightning write its checkpoints with ``write``, and read them with what ``read`` checks."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write one checkpoint."""
        write(checkpoint, Path(path))

    @override
    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Read one checkpoint to resume from, to the CPU; Lightning moves what belongs elsewhere."""
        return read(path, to_resume=True)


def read(path: str | Path, *, to_resume: bool = False) -> dict[str, Any]:
    """Read a checkpoint that cellstate wrote. Nothing that it holds is run, and nothing is taken at its word.

    Args:
        path: a file, or a run folder, of which ``checkpoints/best.ckpt`` (else ``last.ckpt``) is taken.
        to_resume: whether a run is to resume from it.

    Returns:
        Weights as ``state_dict`` and the record as ``cellstate``; of a file to resume from, Lightning's state besides.

    Raises:
        DamagedError: the file was cut short or changed.
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
    """Refuse a checkpoint that is not what was written; its content is not looked at.

    Raises:
        DamagedError: the file was cut short or changed.
        RequestError: it is no checkpoint.
    """
    with explaining(path):
        checked(path)


def checked(file: Path) -> bytes:
    """Return the bytes of a checkpoint whose checksum is right.

    Raises:
        RefusedError: it is not, or the file is larger than this machine's memory.
    """
    size = file.stat().st_size
    if size > memory_bytes():
        raise RefusedError(f"has {size:,} bytes, more than this machine's memory")
    content = file.read_bytes()
    kind_of(content).check(content)
    return content


def kind_of(content: bytes) -> ModuleType:
    """Return the module that reads a file, by its first bytes.

    Raises:
        RefusedError: none does.
    """
    if not content:  # as a file system leaves what it had not written when the power went
        raise BrokenError("is empty")
    if content.startswith((resumable.START, resumable.LEGACY)):
        return resumable
    if format.looks_like_safetensors(content[:9]):
        return format
    raise RefusedError("not a checkpoint that cellstate wrote, or a damaged one; nothing of it was run")


@contextmanager
def explaining(file: Path) -> Iterator[None]:
    """Turn what is wrong with a file into an error that names it."""
    try:
        yield
    except BrokenError as error:
        raise DamagedError(f"{file}: {error}; take another copy of it") from error
    except ForeignError as error:
        raise ForeignFileError(f"{file}: {error}; give a run folder, or its best.ckpt") from error
    except RefusedError as error:
        raise RequestError(f"{file}: {error}") from error
    except PermissionError as error:
        raise RequestError(f"{file}: cannot be read ({error.strerror or error}); check its permissions") from error
    except OSError as error:
        raise RequestError(f"{file}: cannot be read ({error.strerror or error}); check the disk") from error
    except Exception as error:  # torch and pickle raise all kinds of errors on what they do not know
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(f"{file}: cannot be loaded ({reason[:200]}); give a file that cellstate wrote") from error


def find(path: str | Path) -> Path:
    """Return the checkpoint file that a path means: a file, or the best one of a run folder.

    Raises:
        RequestError: there is none.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "best.ckpt", "last.ckpt"):
            if (file / name).is_file():
                return file / name
        raise RequestError(f"checkpoint={path}: the folder holds no checkpoints/best.ckpt")
    if not file.is_file():
        near = file.parent.iterdir() if file.parent.is_dir() else ()
        hint = did_you_mean(file.name, (entry.name for entry in near))
        raise RequestError(f"checkpoint={path}: no such file{hint if 'did you mean' in hint else ''}")
    return file
