"""Checkpoint files: written whole or not at all, read without running anything that they hold."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from cellstate.errors import RequestError, RunError, did_you_mean

FORMAT = 1
KEY = "cellstate"  # where cellstate's own record stands in Lightning's checkpoint


def write(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically: to a draft beside it, to the disk, then in the place of the one before.

    Raises:
        RunError: the disk is full or cannot be written; what stood at ``path`` is untouched.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    draft = path.with_suffix(".tmp")
    try:
        with draft.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        kept = "; the checkpoint before it is whole" if path.exists() else ""
        raise RunError(
            f"{path}: the checkpoint could not be written ({error.strerror}){kept}; free some space"
        ) from error


class AtomicCheckpointIO(TorchCheckpointIO):
    """Has Lightning write its checkpoints with ``write``."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ARG002
        """Write one checkpoint."""
        write(checkpoint, Path(path))


def read(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint that cellstate wrote, with torch's restricted unpickler: tensors and plain values only.

    Args:
        path: a file, or a run folder, of which ``checkpoints/best.ckpt`` (else ``last.ckpt``) is taken.

    Raises:
        RequestError: no such file, not a checkpoint of cellstate, damaged, or of a newer format.
    """
    file = find(path)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise RequestError(
            f"{file}: not a readable checkpoint ({str(error).splitlines()[0][:120] if str(error) else 'damaged'})"
        ) from error
    record = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(record, dict) or "format" not in record:
        raise RequestError(f"{file}: a checkpoint, but not one of cellstate: it has no record of its experiment")
    if record["format"] > FORMAT:
        raise RequestError(
            f"{file}: format {record['format']} is newer than this cellstate reads ({FORMAT}); upgrade it"
        )
    return content


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
        raise RequestError(f"checkpoint={path}: no such file{did_you_mean(file.name, (entry.name for entry in near))}")
    return file
