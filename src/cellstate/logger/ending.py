"""Detect the end of a run in W&B's file: ``finish`` returns before the last records are written."""

from __future__ import annotations

import os
import struct
from pathlib import Path

# LevelDB's log format, after a W&B header of seven bytes: blocks of chunks, each with a header of checksum, length and
# kind (https://github.com/google/leveldb/blob/main/doc/log_format.md).
START, BLOCK, CHUNK = 7, 32 * 1024, struct.Struct("<IHB")
WHOLE, LAST = 1, 4  # kinds of chunks: a complete record, the end of one from the previous block


def is_ended(file: Path) -> bool:
    """Return whether the last record of a file ends the run; a record that spans blocks is assumed to."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    with file.open("rb") as lines:
        size = lines.seek(0, os.SEEK_END)
        lines.seek(max(START, (size - 1) // BLOCK * BLOCK))
        content = lines.read()
    at, kind, newest = 0, 0, b""
    while at + CHUNK.size <= len(content):
        _, length, kind = CHUNK.unpack_from(content, at)
        at += CHUNK.size + length
        newest = content[at - length : at]
    if at > len(content) or kind not in (WHOLE, LAST):  # incomplete
        return False
    return kind == LAST or Record.FromString(newest).WhichOneof("record_type") == "exit"
