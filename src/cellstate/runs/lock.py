"""File locks that are released when their process dies."""

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
    """An exclusive file lock, held until it is released or the process dies.

    Raises:
        BusyError: another process holds the lock.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")
        try:
            if fcntl is not None:  # not available on Windows
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise BusyError(f"{path.parent}: another process is working on this run; wait for it to end") from error

    def release(self) -> None:
        """Release the lock."""
        self._file.close()


@contextmanager
def exclusively(file: IO[Any]) -> Iterator[None]:
    """Lock an open file exclusively, waiting until it is available."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_UN)


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock on a file."""
    if not path.exists():
        return False
    try:
        Lock(path).release()
    except BusyError:
        return True
    return False
