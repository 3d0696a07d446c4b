"""Reads the files that W&B leaves offline: wandb 0.31 writes them with a program in Go, and has no reader in Python.

A ``.wandb`` file begins with seven bytes, ``:W&B``, a magic number and a version. What follows is LevelDB's log format
(https://github.com/google/leveldb/blob/main/doc/log_format.md): blocks of 32 KiB, in them chunks with a header of
checksum, length and kind; a record is one chunk, or a first, some middle ones and a last. The checksum is zlib's CRC-32
over kind and content. A record is a message of ``wandb.proto``.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER, BLOCK, CHUNK = b":W&B\xe1\xbe\x00", 32 * 1024, struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(file: Path) -> Iterator[Any]:
    """Yield the records of a file in their order; one that a kill cut off ends it."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    content = file.read_bytes()
    assert content[: len(HEADER)] == HEADER
    at, record = len(HEADER), b""
    while at + CHUNK.size <= len(content):
        left = BLOCK - at % BLOCK
        if left < CHUNK.size:  # a block's last bytes are left empty where no header fits
            at += left
            continue
        checksum, length, kind = CHUNK.unpack_from(content, at)
        chunk = content[at + CHUNK.size : at + CHUNK.size + length]
        if len(chunk) < length or kind == 0:
            return
        assert zlib.crc32(chunk, zlib.crc32(bytes([kind]))) == checksum
        assert kind in (FULL, FIRST, MIDDLE, LAST)
        record = chunk if kind in (FULL, FIRST) else record + chunk
        at += CHUNK.size + length
        if kind in (FULL, LAST):
            yield Record.FromString(record)


class OfflineRun:
    """What a run folder's offline files hold, all of its parts together, the oldest first."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
        self.parts = [list(records(file)) for file in self.files]

    def of_kind(self, kind: str) -> list[Any]:
        """Return the records of one kind."""
        return [
            getattr(record, kind) for part in self.parts for record in part if record.WhichOneof("record_type") == kind
        ]

    @property
    def config(self) -> dict[str, Any]:
        """The config."""
        (first, *_) = self.of_kind("run")
        return {item.key: json.loads(item.value_json) for item in first.config.update}

    @property
    def history(self) -> list[dict[str, Any]]:
        """All rows, W&B's own columns left out."""
        rows = [flattened(record.item) for record in self.of_kind("history")]
        return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]

    @property
    def summary(self) -> dict[str, Any]:
        """The summary as it ended, nested keys joined by dots."""
        return {name: value for record in self.of_kind("summary") for name, value in flattened(record.update).items()}

    @property
    def exit_codes(self) -> list[int]:
        """How each part ended; a part that was killed has no end."""
        return [record.exit_code for record in self.of_kind("exit")]

    def artifact(self, kind: str) -> Any:
        """Return the one artifact of a type."""
        (found,) = [record for record in self.of_kind("artifact") if record.type == kind]
        return found

    def table(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a logged table, from the file that lies beside the records."""
        content = json.loads((self.files[-1].parent / "files" / self.summary[f"{name}.path"]).read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def flattened(items: Any) -> dict[str, Any]:
    """Return key -> value of a record's items."""
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
