"""Storage of studies: any of Optuna's storages, by default a journal file that survives a kill at any moment."""

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
    """A journal file that tolerates an incomplete last line, as left by a killed process.

    Optuna would append to that line and could not read the file any more; here it is truncated first. The lock is
    released when its process dies, whereas Optuna's own would block for half a minute.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines; called by Optuna."""
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with locked(self.path.with_name(f".{self.path.name}.lock")), self.path.open("r+b") as file:
            file.seek(end_of_lines(file))
            file.truncate()
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Acquire a lock file, which is released even if the process dies."""
    with place.open("a") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def end_of_lines(file: IO[bytes]) -> int:
    """Return the end of the last complete line of a file."""
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
    """Return the storage of a URL, or of a file; RequestError if it cannot be used."""
    with quiet_optuna(), reached(place):
        if place.startswith("redis"):
            from optuna.storages.journal import JournalRedisBackend

            return JournalStorage(JournalRedisBackend(place))
        if "://" in place:
            patient = {"connect_args": {"timeout": 60}}  # seconds that SQLite waits for other processes, instead of 5
            return RDBStorage(place, engine_kwargs=patient if place.startswith("sqlite") else {})
        path = Path(place).expanduser()
        if not path.parent.is_dir():
            raise RequestError(f"sweep.storage={place}: folder {path.parent} does not exist; create or change it")
        return JournalStorage(Journal(path))


@contextmanager
def reached(place: str) -> Iterator[None]:
    """Turn errors of a storage into a one-line RequestError."""
    try:
        yield
    except (RequestError, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200] or type(error).__name__
        raise RequestError(
            f"sweep.storage={without_password(place)}: cannot be used ({reason}); set a file, or the URL of a database "
            "such as sqlite:///study.db or postgresql://USER@HOST/NAME with an installed driver"
        ) from error


def without_password(place: str) -> str:
    """Return a URL with its password masked."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:…@", place)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's log and its experimental warnings."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna")
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)
