"""Making hostile files: whoever makes one can compute a checksum too, so all of these have a good one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

FOLDER = "archive/"
PLAIN = {"version": b"3\n", "byteorder": b"little"}
BLANK = "0" * 64


class Exploding:
    """Pickles as a call of ``os.system`` that leaves the file ``exploded``."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch exploded",)


def changed(good: Path, file: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Path:
    """Write a good checkpoint, of either kind, after ``change(its record, all of it)``."""
    if good.read_bytes().startswith(b"PK"):
        content = torch.load(good, weights_only=True)
        change(content["cellstate"], content)
        return saved(content, file)
    header, _ = parts_of(good)
    content = {
        "state_dict": safetensors.torch.load_file(good),
        "cellstate": json.loads(header["__metadata__"]["cellstate"]),
    }
    change(content["cellstate"], content)
    return shared(content["state_dict"], json.dumps(content["cellstate"]), file)


# ---------------------------------------------------------------------- what is shared: safetensors


def shared(weights: Mapping[str, torch.Tensor], record: str, file: Path) -> Path:
    """Write a file of weights and the text of a record, whatever it is."""
    file.write_bytes(safetensors.torch.save(dict(weights), {"cellstate": record, "sha256": BLANK}))
    return sum_up(file)


def parts_of(good: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header of a file, with zeros for its checksum, and the numbers behind it."""
    content = good.read_bytes()
    stop = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:stop])
    header["__metadata__"]["sha256"] = BLANK
    return header, content[stop:]


def with_header(header: Any, body: bytes, file: Path, length: int | None = None) -> Path:
    """Write a file with a header of one's own (JSON, or bytes), which may claim another length."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    file.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + body)
    return sum_up(file)


def sum_up(file: Path) -> Path:
    """Put the checksum, SHA-256 of the file as it is with zeros in its place, into a header."""
    content = file.read_bytes()
    if BLANK.encode() in content:
        file.write_bytes(content.replace(BLANK.encode(), hashlib.sha256(content).hexdigest().encode(), 1))
    return file


# ---------------------------------------------------------------------- what a run resumes from: a file of torch's


def seal(file: Path) -> Path:
    """Give a zip file the comment that a checkpoint has: SHA-256 of the file as it is with 64 zeros for it."""
    content = file.read_bytes()
    assert content.endswith(b"\0\0"), "it has a comment already"
    label = b"cellstate sha256 "
    content = content[:-2] + struct.pack("<H", len(label) + 64) + label
    file.write_bytes(content + hashlib.sha256(content + BLANK.encode()).hexdigest().encode())
    return file


def unsealed(file: Path) -> bytes:
    """Return a checkpoint as torch wrote it."""
    content = file.read_bytes()
    return content[: content.rindex(b"cellstate sha256 ") - 2] + b"\0\0"


def saved(content: Any, file: Path) -> Path:
    """Write what torch can write as a checkpoint."""
    torch.save(content, file)
    return seal(file)


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
