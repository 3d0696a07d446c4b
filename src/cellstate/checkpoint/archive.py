"""The zip file that a checkpoint is: sealed with a checksum, and looked through before torch unpacks anything.

What ``torch.save`` writes is a zip file of entries that are not compressed. Sealed, it carries in its comment, the
field at the very end that readers of zip files pass over, SHA-256 of the file as torch wrote it, without a comment.
So ``torch.load`` reads it as any other.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from typing_extensions import Buffer

from cellstate.runs.memory import memory_bytes

LABEL = b"cellstate sha256 "
COMMENT = len(LABEL) + 64  # bytes
SEAL = COMMENT.to_bytes(2, "little") + LABEL  # what stands before the digest
PIECE = 2**20  # bytes that are read at once
MOST_ENTRIES = 100_000  # one for each tensor
LONGEST_NAME = 255
NAME = re.compile(rb"[\w-]+(/\.?[\w-]+(\.[\w-]+)*)+")  # no "..", nothing absolute, no second way to write a path

# Records of the format (APPNOTE.TXT of PKWARE, 4.3) with their signatures.
LOCAL, CENTRAL = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I")
END, END_64, LOCATOR_64 = struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
FULL_16, FULL_32 = 2**16 - 1, 2**32 - 1  # stand where a number is too large for its field, and follows elsewhere


class RefusedError(Exception):
    """Why a file is not read, in words that go on after its name."""


class UnsealedError(RefusedError):
    """The file has no checksum, and does not look as if it was cut short."""


class BrokenError(RefusedError):
    """The file was a checkpoint once."""


class Entry(NamedTuple):
    """Where the content of an entry lies in the file, in bytes."""

    start: int
    size: int


class SealedFile:
    """What ``torch.save`` writes to: passes all on to a file, and adds it up."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self._error: BaseException | None = None

    def write(self, content: Buffer) -> int:
        """Write; what goes wrong is kept for ``seal``, as torch may end the process if an error passes through it."""
        try:
            if self._error is None:
                self._file.write(content)
                self._digest.update(content)
        except BaseException as error:
            self._error = error
        return memoryview(content).nbytes

    def flush(self) -> None:
        """Do nothing: the file is flushed once it is whole."""

    def seal(self) -> None:
        """Write the checksum into the comment of the zip file, which is whole now.

        Raises:
            OSError: something could not be written.
        """
        if self._error is not None:
            raise self._error
        self._file.seek(-2, os.SEEK_END)  # the length of the comment, which is 0
        self._file.write(SEAL + self._digest.hexdigest().encode())


# ---------------------------------------------------------------------- checking


def check(file: BinaryIO) -> dict[str, Entry]:
    """Return the entries of a sealed checkpoint by their names, without the folder in it that they all lie in.

    Raises:
        BrokenError: it was cut short or changed since it was written.
        UnsealedError: it has no checksum, or is no zip file at all.
        RefusedError: it is not laid out as torch does it.
    """
    size = file.seek(0, os.SEEK_END)
    end = size - COMMENT - END.size
    tail = between(file, max(end, 0), size)
    if end < 0 or not tail.startswith(b"PK\5\6") or tail[END.size - 2 : -64] != SEAL:
        raise _without_seal(file, size)
    if size > memory_bytes():
        raise RefusedError(f"has {size:,} bytes, more than this machine's memory")
    if tail[-64:] != digest(file, size - COMMENT).encode():
        raise BrokenError("damaged: its content does not have the checksum that it was written with")
    return laid_out(entries(file, end))


def laid_out(rows: Iterator[tuple[bytes, int, Entry]]) -> dict[str, Entry]:
    """Return entries by their names within the one folder that they lie in.

    Raises:
        RefusedError: they lie over each other, go by one name, or are not those of a checkpoint.
    """
    found: dict[str, Entry] = {}
    folder, free = None, 0  # where the entry before ends
    for name, header, entry in sorted(rows, key=lambda row: row[1]):
        first, _, rest = name.decode().partition("/")
        folder = folder or first
        if header < free or (not found and header):
            raise _forged("its entries lie over each other, or begin late")
        if first != folder or rest.lower() in found:  # torch looks names up without regard to case
            raise _forged("its entries share a name, or lie in several folders")
        found[rest.lower()] = entry
        free = entry.start + entry.size
    if "data.pkl" not in found or "constants.pkl" in found:
        raise _forged("it holds no record, or a program")
    return found


def entries(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int, Entry]]:
    """Yield name, place of the header, and place of the content, of all entries of a zip file.

    Args:
        file: the zip file.
        end: where its last record begins.

    Raises:
        RefusedError: the directory does not add up, or an entry is not as torch writes it.
    """
    count, size, start = directory(file, end)
    rows, at = between(file, start, start + size), 0
    for _ in range(count):
        if len(rows) < at + CENTRAL.size:
            raise _forged("its directory is too short")
        fields = CENTRAL.unpack_from(rows, at)
        flags, method, lengths = fields[3], fields[4], fields[10:13]
        at += CENTRAL.size
        name, extra = rows[at : at + lengths[0]], rows[at + lengths[0] : at + sum(lengths[:2])]
        at += sum(lengths)
        unpacked, packed, header = _wide(extra, fields[9], fields[8], fields[16])
        if fields[0] != b"PK\1\2" or len(name) > LONGEST_NAME or not NAME.fullmatch(name):
            raise _forged(f"an entry is called {name[:LONGEST_NAME].decode('latin-1')!r}")
        if method or flags & 1 or packed != unpacked:
            raise _forged(f"the entry {name.decode()!r} is compressed or encrypted")
        if header + LOCAL.size > start:
            raise _forged(f"the entry {name.decode()!r} lies outside the file")
        local = LOCAL.unpack(between(file, header, header + LOCAL.size))
        begin = header + LOCAL.size + local[9] + local[10]
        own_name = between(file, header + LOCAL.size, header + LOCAL.size + local[9])
        if local[0] != b"PK\3\4" or local[3] or own_name != name or begin + packed > start:
            raise _forged(f"the entry {name.decode()!r} lies outside the file, or its header tells something else")
        yield name, header, Entry(begin, packed)
    if at != size:
        raise _forged("its directory is too long")


def directory(file: BinaryIO, end: int) -> tuple[int, int, int]:
    """Return the number of entries, and size and beginning of the directory that ``end`` follows.

    Raises:
        RefusedError: it is told in two ways, lies elsewhere, or is too large.
    """
    _, disk, first_disk, here, count, size, start, _ = END.unpack(between(file, end, end + END.size))
    stop = end
    locator = between(file, max(end - LOCATOR_64.size, 0), end)
    if locator.startswith(b"PK\6\7"):
        stop = LOCATOR_64.unpack(locator)[2]
        record = between(file, stop, min(stop + END_64.size, end))
        if stop + END_64.size + LOCATOR_64.size != end or not record.startswith(b"PK\6\6"):
            raise _forged("its directory is not where it should be")
        wide = END_64.unpack(record)[6:]
        narrow = ((here, FULL_16), (count, FULL_16), (size, FULL_32), (start, FULL_32))
        if any(number not in (true, full) for (number, full), true in zip(narrow, wide, strict=True)):
            raise _forged("its directory is told in two ways")
        here, count, size, start = wide
    if disk or first_disk or here != count or start + size != stop:
        raise _forged("its directory is not where it should be")
    if count > MOST_ENTRIES or size > MOST_ENTRIES * (CENTRAL.size + 2 * LONGEST_NAME):
        raise _forged(f"it has {count:,} entries")
    return count, size, start


def between(file: BinaryIO, start: int, stop: int) -> bytes:
    """Return the bytes of a file from ``start`` to before ``stop``."""
    file.seek(start)
    return file.read(stop - start)


def digest(file: BinaryIO, size: int) -> str:
    """Return SHA-256 of the zip file that the first ``size`` bytes are, as it was without a comment."""
    found, left = hashlib.sha256(), size - 2
    file.seek(0)
    while left and (piece := file.read(min(PIECE, left))):
        found.update(piece)
        left -= len(piece)
    found.update(b"\0\0")  # the length of no comment
    return found.hexdigest()


def _wide(extra: bytes, *numbers: int) -> list[int]:
    """Return numbers; those that did not fit into their fields stand one after the other in an ``extra`` field."""
    blocks: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        blocks.setdefault(kind, extra[at + 4 : at + 4 + length])
        at += 4 + length
    wide = blocks.get(1, b"")
    if len(wide) < 8 * numbers.count(FULL_32):
        raise _forged("the size of an entry is missing")
    following = (number for (number,) in struct.iter_unpack("<Q", wide[: len(wide) // 8 * 8]))
    return [next(following) if number == FULL_32 else number for number in numbers]


def _without_seal(file: BinaryIO, size: int) -> RefusedError:
    if not size:
        return BrokenError("is empty")  # as a file system leaves what it had not written when the power went
    if between(file, 0, 4) != b"PK\3\4":
        return UnsealedError("not a checkpoint that cellstate wrote, or a damaged one; nothing of it was run")
    last = between(file, max(size - END.size, 0), size)
    if last.startswith(b"PK\5\6") and last.endswith(b"\0\0"):
        return UnsealedError(
            "has no checksum: cellstate did not write it, or did so in format 1, which had none; use it with the "
            "version that wrote it, or train anew"
        )
    return BrokenError("damaged or cut short: it does not end with a checksum")


def _forged(what: str) -> RefusedError:
    return RefusedError(f"laid out as no checkpoint is ({what}); nothing of it was unpacked")
