"""Where studies are kept: any storage of Optuna's, by default a file that a kill at any moment leaves usable."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from cellstate.errors import RequestError
from cellstate.runs.lock import fcntl

FILE = "study.journal"


class Journal(JournalFileBackend):
    """A file with a line for all that happened, of which a process that is killed may leave half of the last one.

    Optuna would write on behind that half, and could read nothing after it any more: here it is cut off first. The lock
    is given up by the death of its process; Optuna's own would be waited for, for half a minute.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines, all of them or, if the process is killed, those before the cut."""
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with locked(self.path.with_name(f".{self.path.name}.lock")), self.path.open("r+b") as file:
            file.seek(whole_lines(file))
            file.truncate()
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Wait for a lock file and hold it; it is given up with the file, whatever becomes of the process."""
    with place.open("a") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def whole_lines(file: IO[bytes]) -> int:
    """Return where the last whole line of a file ends."""
    end = file.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - 4096)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def open_storage(place: str) -> BaseStorage:
    """Return the storage of an URL, or of a file.

    Raises:
        RequestError: it cannot be reached, or cannot be read.
    """
    with quiet_optuna(), reached(place):
        if place.startswith("redis"):
            from optuna.storages.journal import JournalRedisBackend

            return JournalStorage(JournalRedisBackend(place))
        if "://" in place:
            return RDBStorage(place, engine_kwargs=_patient(place))
        path = Path(place).expanduser()
        if not path.parent.is_dir():
            raise RequestError(f"sweep.storage={place}: there is no folder {path.parent}; make it, or name another")
        return JournalStorage(Journal(path))


def _patient(url: str) -> dict[str, Any]:
    """Have SQLite wait for other processes, where it would give up after five seconds."""
    return {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}


@contextmanager
def reached(place: str) -> Iterator[None]:
    """Say in one line that a storage cannot be reached, or is none."""
    try:
        yield
    except (RequestError, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200] or type(error).__name__
        raise RequestError(
            f"sweep.storage={without_password(place)}: cannot be used ({reason}); give a file, or an URL of a database "
            "such as sqlite:///study.db or postgresql://USER@HOST/NAME, whose driver is installed"
        ) from error


def without_password(place: str) -> str:
    """Return an URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:…@", place)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's log, and its warnings that something is experimental, off the screen."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna")
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)
