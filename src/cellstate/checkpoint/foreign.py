"""Telling files that other programs wrote with ``torch.save`` from checkpoints of format 1, which had no checksum."""

from __future__ import annotations

import os
import pickletools
import struct
from typing import BinaryIO

from cellstate.checkpoint.archive import END, Entry, RefusedError, UnsealedError, between, check, entries, laid_out
from cellstate.checkpoint.record import KEY

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how files of torch.save began before torch 1.6
LARGEST = 2**24  # bytes of a record that is looked through; those of format 1 are far smaller


class ForeignError(RefusedError):
    """Cellstate did not write the file."""


def checked(file: BinaryIO) -> dict[str, Entry]:
    """Return what ``archive.check`` does; of a file without a checksum, say whether cellstate wrote it.

    Raises:
        BrokenError: it was cut short or changed since it was written.
        ForeignError: another program wrote it.
        RefusedError: it is no checkpoint that can be read.
    """
    try:
        return check(file)
    except UnsealedError as error:
        if between(file, 0, len(LEGACY)) == LEGACY:
            raise ForeignError(str(error)) from error
        if between(file, 0, 4) != b"PK\3\4" or names_record(file):
            raise
        raise ForeignError("no checkpoint of cellstate: another program wrote it, and nothing of it was run") from error


def names_record(file: BinaryIO) -> bool:
    """Say whether a zip file without a comment has cellstate's record; its pickle is listed, and not followed."""
    try:
        record = laid_out(entries(file, file.seek(0, os.SEEK_END) - END.size))["data.pkl"]
        if record.size > LARGEST:
            return False
        listed = pickletools.genops(between(file, record.start, record.start + record.size))
        return any(argument == KEY for _, argument, _ in listed)
    except (RefusedError, ValueError, LookupError, TypeError, AttributeError, struct.error):
        return False  # not laid out as torch does it for cellstate, or no pickle
