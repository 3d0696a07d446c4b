"""Checkpoint files: written whole or not at all, read without running anything that they hold."""

from __future__ import annotations

import io
import os
import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from cellstate.errors import RequestError, did_you_mean, not_written

FORMAT = 1
# What every checkpoint holds, and of what type: the whole file, cellstate's own record, and the config in that.
CONTENT: dict[str, type] = {"state_dict": dict}
RECORD: dict[str, type] = {"config": dict, "spec": dict, "fingerprint": str, "reference": dict, "metrics": dict}
CONFIG = {"experiment", "seed", "data", "model", "backbone"}
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
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise not_written(path, error, "; the checkpoint before it is whole" if path.exists() else "") from error


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's word on a foreign pickle, which is refused anyway
            content = torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise RequestError(f"{file}: cannot be read ({error.strerror or error}); check its permissions") from error
    except Exception as error:  # torch and pickle raise all kinds of errors on foreign bytes
        raise RequestError(f"{file}: {_why_unreadable(error)}") from error
    record = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise RequestError(f"{file}: a checkpoint, but not one of cellstate: it has no record of its experiment")
    if record["format"] > FORMAT:
        raise RequestError(
            f"{file}: format {record['format']} is newer than this cellstate reads ({FORMAT}); upgrade it"
        )
    lacking = [
        name
        for part, names in ((content, CONTENT), (record, RECORD))
        for name, kind in names.items()
        if not isinstance(part.get(name), kind)
    ]
    if lacking or not record["config"].keys() >= CONFIG:
        raise RequestError(f"{file}: its record is not complete ({', '.join(lacking) or 'config'}); it was changed")
    return content


def _why_unreadable(error: Exception) -> str:
    refused = re.search(r"GLOBAL (\S+) (?:was not an allowed global|whose module)", str(error))
    if refused:
        return f"holds more than numbers ({refused[1]}), which is refused; nothing of it was run"
    return "not a checkpoint, or a damaged one; give a file that cellstate wrote"


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
