"""The checksum of a checkpoint: SHA-256 of the entire file, with the checksum itself set to zeros."""

from __future__ import annotations

import hashlib

from cellstate.checkpoint.values import RefusedError

DIGITS = 64  # hexadecimal digits of SHA-256
BLANK = b"0" * DIGITS


class BrokenError(RefusedError):
    """The file is a damaged checkpoint."""


def seal(content: bytes, place: int) -> bytes:
    """Replace the 64 zeros at ``place`` by the checksum."""
    return b"".join((content[:place], digest(content, place).encode(), content[place + DIGITS :]))


def check(content: bytes, place: int) -> None:
    """Verify the checksum at ``place``.

    Raises:
        BrokenError: the content was modified.
    """
    if content[place : place + DIGITS] != digest(content, place).encode():
        raise BrokenError("damaged: checksum mismatch")


def digest(content: bytes, place: int) -> str:
    """Return the hexadecimal SHA-256 of content with zeros at ``place``, without copying it."""
    view, found = memoryview(content), hashlib.sha256()
    for part in (view[:place], BLANK, view[place + DIGITS :]):
        found.update(part)
    return found.hexdigest()
