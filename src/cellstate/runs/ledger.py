"""The ledger: a line for every time a test split was scored, so that how often it was looked at is on record.

Lines are appended and never changed. Several processes may write at once: each holds a lock while it reads how often
the data was looked at and adds its own line.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cellstate.errors import FULL, RequestError, not_written
from cellstate.runs.folder import now
from cellstate.runs.lock import exclusively

COLUMNS = (
    *("when", "command", "experiment", "seed", "checkpoint", "weights", "source", "fingerprint"),
    *("split", "metric", "value", "metrics", "looks"),
)
GENERATED = "data="  # how the source of data begins that no file holds


@dataclass(frozen=True)
class Look:
    """One time that a test split was scored.

    Attributes:
        command: ``train``, ``evaluate`` or ``backtest``.
        experiment: the name of the experiment; empty where it is not known.
        seed: of the run; empty where it is not known.
        checkpoint: path of the file that was scored; empty for a model in memory.
        weights: SHA-256 of the weights.
        source: the file that the test split comes from, else ``data=`` and what generated it.
        fingerprint: of the data.
        metric: the one that the task is judged by.
        metrics: all of them.
        split: the split that was scored.
    """

    command: str
    experiment: str
    seed: int | str
    checkpoint: str
    weights: str
    source: str
    fingerprint: str
    metric: str
    metrics: Mapping[str, float]
    split: str = "test"

    def is_of(self, row: Mapping[str, Any]) -> bool:
        """Say whether a line is of the same data: of one fingerprint, or from one file, however it was cut."""
        same_file = row.get("source") == self.source and not self.source.startswith(GENERATED)
        return row.get("split") == self.split and (row.get("fingerprint") == self.fingerprint or same_file)


class Ledger:
    """The file, CSV with a header; it and its folder come to be with the first line."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    def check(self) -> None:
        """Refuse a place where no ledger can be, without leaving anything there.

        Raises:
            RequestError: it cannot be written, or holds something else.
        """
        try:
            if self.path.exists():
                with self.path.open("r+b", buffering=0) as file:
                    self._check_header(file)
                return
            folder = next(parent for parent in self.path.absolute().parents if parent.exists())
        except OSError as error:
            raise self._refused(error.strerror or str(error)) from error
        if not folder.is_dir():
            raise self._refused(f"{folder} is no folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise self._refused(f"nothing can be written in {folder}")

    def open(self) -> None:
        """Make the file with its header if it is not there, and make sure that it can be written.

        Raises:
            RequestError: it cannot, or holds something else.
            RunError: the disk is full.
        """
        try:
            with self._locked():
                pass
        except OSError as error:
            if error.errno in FULL:
                raise not_written(self.path, error) from error
            raise self._refused(error.strerror or str(error)) from error

    def add(self, look: Look) -> int:
        """Append a line, on the disk when this returns; return how often that data's test split was looked at by now.

        Raises:
            RunError: it cannot be written; the lines before it are whole.
        """
        try:
            with self._locked() as file:
                file.seek(0)
                text = file.read().decode("utf-8", "replace")
                looks = 1 + sum(look.is_of(row) for row in csv.DictReader(io.StringIO(text, newline="")))
                values = {**asdict(look), "metrics": json.dumps(dict(look.metrics)), "looks": looks}
                values |= {"when": now(), "value": look.metrics.get(look.metric, "")}
                torn = "" if text.endswith("\n") else "\n"  # whoever wrote it was killed within a line
                append(file, torn + line(values[column] for column in COLUMNS))
        except OSError as error:
            raise not_written(
                self.path, error, "; the test split was scored, and this look is not on record"
            ) from error
        return looks

    @contextmanager
    def _locked(self) -> Iterator[io.FileIO]:
        """Open the file, which is made with its header if it is not there, for this process alone."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b", buffering=0) as file, exclusively(file):
            if file.seek(0, os.SEEK_END) == 0:
                append(file, line(COLUMNS))
            self._check_header(file)
            yield file

    def _check_header(self, file: io.FileIO) -> None:
        file.seek(0)
        first = file.readline(4096).decode("utf-8", "replace").strip()
        if first and first != line(COLUMNS).strip():
            raise RequestError(f"ledger={self.path}: this file is no ledger of cellstate; name another one")

    def _refused(self, reason: str) -> RequestError:
        return RequestError(f"ledger={self.path}: cannot be written ({reason}); name another file with ledger=FILE")


def append(file: io.FileIO, text: str) -> None:
    """Append to an unbuffered file as a whole or not at all, through to the disk."""
    size, content = file.seek(0, os.SEEK_END), text.encode()
    try:
        if file.write(content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            file.truncate(size)
        raise


def line(values: Any) -> str:
    """Return values as a line of CSV."""
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerow(values)
    return written.getvalue()


def source_of(data: Any) -> str:
    """Return where the test split of a datamodule comes from: its file, else ``data=`` and the class."""
    path = getattr(data, "test_path", None) or getattr(data, "path", None)
    return str(Path(path).expanduser().resolve()) if path else GENERATED + type(data).__name__


def spoken(looks: int, path: str | Path) -> str:
    """Return in words how often a test split was looked at."""
    return f"test split looked at {'once' if looks == 1 else f'{looks:,} times'} ({path})"
