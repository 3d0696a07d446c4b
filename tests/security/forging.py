"""Making hostile files: whoever makes one can compute a checksum too, so all of these have a good one."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

FOLDER = "archive/"
PLAIN = {"version": b"3\n", "byteorder": b"little"}


class Exploding:
    """Pickles as a call of ``os.system`` that leaves the file ``exploded``."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch exploded",)


def seal(file: Path) -> Path:
    """Give a zip file the comment that a checkpoint has: SHA-256 of the file as it is without one."""
    content = file.read_bytes()
    assert content.endswith(b"\0\0"), "it has a comment already"
    comment = b"cellstate sha256 " + hashlib.sha256(content).hexdigest().encode()
    file.write_bytes(content[:-2] + struct.pack("<H", len(comment)) + comment)
    return file


def unsealed(file: Path) -> bytes:
    """Return a checkpoint as torch wrote it."""
    content = file.read_bytes()
    return content[: content.rindex(b"cellstate sha256 ") - 2] + b"\0\0"


def saved(content: Any, file: Path) -> Path:
    """Write what torch can write as a checkpoint."""
    torch.save(content, file)
    return seal(file)


def changed(good: Path, file: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Path:
    """Write a good checkpoint after ``change(its record, all of it)``."""
    content = torch.load(good, weights_only=True)
    change(content["cellstate"], content)
    return saved(content, file)


def zipped(entries: Mapping[str, bytes], file: Path, method: int = zipfile.ZIP_STORED) -> Path:
    """Write a zip file of entries, named as they are."""
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return seal(file)


def pickled(instructions: bytes, file: Path, **data: bytes) -> Path:
    """Write a checkpoint whose record is a pickle of one's own; ``data`` are entries of tensors by their keys."""
    entries = {"data.pkl": instructions, **PLAIN, **{f"data/{key[1:]}": value for key, value in data.items()}}
    return zipped({FOLDER + name: content for name, content in entries.items()}, file)


def entries_of(good: Path) -> dict[str, bytes]:
    """Return the entries of a checkpoint."""
    with zipfile.ZipFile(io.BytesIO(unsealed(good))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def laughs(depth: int, width: int = 10) -> list[Any]:
    """Return a list of ``width ** depth`` values in a few kilobytes, as its parts are shared (the "billion laughs")."""
    value: list[Any] = ["ha"] * width
    for _ in range(depth - 1):
        value = [value] * width
    return value


def calling(module: str, name: str, *arguments: Any) -> bytes:
    """Return a pickle that calls a function."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + pickle.dumps(arguments, 2)[2:-1] + b"R."
