"""A lock that a killed process does not leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cellstate.errors import RequestError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]


class BusyError(RequestError):
    """Another process is working on the run."""


class Lock:
    """A lock on a file that a process holds until it releases it or dies, so that a kill leaves nothing behind.

    Raises:
        BusyError: another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")
        try:
            if fcntl is not None:  # Windows has no such lock
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise BusyError(f"{path.parent}: another process is working on this run; wait for it to end") from error

    def release(self) -> None:
        """Give it up."""
        self._file.close()


@contextmanager
def exclusively(file: IO[Any]) -> Iterator[None]:
    """Hold an open file for this process alone, after waiting for whoever holds it; its death gives it up."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_UN)


def is_held(path: Path) -> bool:
    """Say whether a process holds the lock on a file."""
    if not path.exists():
        return False
    try:
        Lock(path).release()
    except BusyError:
        return True
    return False
