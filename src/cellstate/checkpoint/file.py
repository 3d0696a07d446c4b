"""Checkpoint files: written whole or not at all, and looked through before anything in them is loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from typing_extensions import override

from cellstate.checkpoint.archive import BrokenError, RefusedError, SealedFile, between, check
from cellstate.checkpoint.foreign import ForeignError, checked
from cellstate.checkpoint.instructions import followed
from cellstate.checkpoint.record import check_content
from cellstate.checkpoint.values import check_values
from cellstate.errors import RequestError, RunError, did_you_mean, not_written


class DamagedError(RequestError):
    """A checkpoint is not what was written any more; another copy of it may be."""


class ForeignFileError(RequestError):
    """Another program wrote the file with ``torch.save``."""


def write(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically: to a draft beside it, to the disk, then in the place of the one before.

    Raises:
        RunError: the disk is full or cannot be written, or the content holds what could not be read again; what stood
            at ``path`` is untouched.
    """
    try:
        check_values(content, is_plain_tensor)
    except RefusedError as error:
        raise RunError(
            f"{path}: cannot be written: {error}; keep plain values and tensors in what goes into a checkpoint"
        ) from error
    draft = path.with_suffix(".tmp")
    try:
        draft.unlink(missing_ok=True)  # of a run that was killed; a link to elsewhere is not followed
        with draft.open("xb") as file:
            sealed = SealedFile(file)
            torch.save(content, sealed)  # type: ignore[arg-type]
            sealed.seal()
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise not_written(path, error, "; the checkpoint before it is whole" if path.exists() else "") from error


def is_plain_tensor(value: Any) -> bool:
    """Say whether a value is a tensor that a checkpoint can hold: an array of numbers, each stored by itself."""
    if type(value) is not torch.Tensor or value.layout is not torch.strided or value.is_quantized or value.is_meta:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


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
        """Read one checkpoint to go on from, to the CPU; Lightning moves what belongs elsewhere."""
        return read(path, to_go_on=True)


def read(path: str | Path, *, to_go_on: bool = False) -> dict[str, Any]:
    """Read a checkpoint that cellstate wrote. Nothing that it holds is run, and nothing is taken at its word.

    In this order: the checksum, the zip file's directory, the pickle's instructions, what they describe; only then
    does torch load it, with its restricted unpickler.

    Args:
        path: a file, or a run folder, of which ``checkpoints/best.ckpt`` (else ``last.ckpt``) is taken.
        to_go_on: whether a run is to go on from it.

    Raises:
        DamagedError: the file was cut short or changed.
        ForeignFileError: another program wrote it.
        RequestError: no such file, not a checkpoint of cellstate, or of another format.
    """
    file = find(path)
    with telling(file), file.open("rb") as stream:  # one open file: what was checked is what is loaded
        entries = checked(stream)
        record = entries["data.pkl"]
        check_content(followed(between(stream, record.start, record.start + record.size), entries), to_go_on=to_go_on)
        stream.seek(0)
        return torch.load(stream, map_location="cpu", weights_only=True)


def verify(path: Path) -> None:
    """Refuse a checkpoint that is not what was written; its content is not looked at.

    Raises:
        DamagedError: the file was cut short or changed.
        RequestError: it is no checkpoint.
    """
    with telling(path), path.open("rb") as stream:
        check(stream)


@contextmanager
def telling(file: Path) -> Iterator[None]:
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
