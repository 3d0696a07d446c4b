"""Whether W&B has written a run to its end: ``finish`` returns while the last records are still on their way."""

from __future__ import annotations

import os
import struct
from pathlib import Path

# LevelDB's log format, which W&B's files have after seven bytes of their own: blocks, in them chunks with a header of
# checksum, length and kind (https://github.com/google/leveldb/blob/main/doc/log_format.md).
START, BLOCK, CHUNK = 7, 32 * 1024, struct.Struct("<IHB")
WHOLE, LAST = 1, 4  # kinds of a chunk: a whole record, the end of one that began in the block before


def is_ended(file: Path) -> bool:
    """Say whether the last record of a run's file is the one that ends it; one of two blocks is taken for it."""
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
    if at > len(content) or kind not in (WHOLE, LAST):  # a part of it is still on its way
        return False
    return kind == LAST or Record.FromString(newest).WhichOneof("record_type") == "exit"
