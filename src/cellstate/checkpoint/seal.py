"""The checksum of a checkpoint: SHA-256 of the whole file, with zeros in its own place."""

from __future__ import annotations

import hashlib

from cellstate.checkpoint.values import RefusedError

DIGITS = 64  # of SHA-256, hexadecimal
BLANK = b"0" * DIGITS


class BrokenError(RefusedError):
    """The file was a checkpoint once."""


def seal(content: bytes, place: int) -> bytes:
    """Return a file's content with its checksum at ``place``, where it has 64 zeros."""
    return b"".join((content[:place], digest(content, place).encode(), content[place + DIGITS :]))


def check(content: bytes, place: int) -> None:
    """Refuse content that does not have the checksum at ``place``.

    Raises:
        BrokenError: it was changed since it was written.
    """
    if content[place : place + DIGITS] != digest(content, place).encode():
        raise BrokenError("damaged: its content does not have the checksum that it was written with")


def digest(content: bytes, place: int) -> str:
    """Return the SHA-256, hexadecimal, of content with zeros at ``place``; nothing of it is copied."""
    view, found = memoryview(content), hashlib.sha256()
    for part in (view[:place], BLANK, view[place + DIGITS :]):
        found.update(part)
    return found.hexdigest()
