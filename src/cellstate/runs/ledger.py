"""The ledger: a CSV file with one line for every evaluation on a test split.

Lines are only appended. Several processes may write at once: each holds a lock while it counts the evaluations of the
same data and appends its line.
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
GENERATED = "data="  # prefix of the source of generated data


@dataclass(frozen=True)
class Look:
    """One evaluation on a test split.

    Attributes:
        command: ``train``, ``evaluate`` or ``backtest``.
        experiment: name of the experiment; empty if unknown.
        seed: seed of the run; empty if unknown.
        checkpoint: path of the checkpoint; empty for a model in memory.
        weights: SHA-256 of the weights.
        source: file of the test split, or ``data=`` and the class that generated it.
        fingerprint: fingerprint of the data.
        metric: headline metric of the task.
        metrics: all scores.
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
        """Return whether a line has the same data: the same fingerprint, or the same file with any split."""
        same_file = row.get("source") == self.source and not self.source.startswith(GENERATED)
        return row.get("split") == self.split and (row.get("fingerprint") == self.fingerprint or same_file)


class Ledger:
    """The ledger file; it and its folder are created with the first line."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    def check(self) -> None:
        """Check that the ledger can be written, without creating anything.

        Raises:
            RequestError: it is not writable, or not a ledger.
        """
        try:
            if self.path.exists():
                with self.path.open("r+b", buffering=0) as file:
                    self._check_header(file)
                return
            folder = next(parent for parent in self.path.absolute().parents if parent.exists())
        except OSError as error:
            raise self._rejected(error.strerror or str(error)) from error
        if not folder.is_dir():
            raise self._rejected(f"{folder} is not a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise self._rejected(f"no permission to write to {folder}")

    def open(self) -> None:
        """Create the file with its header if necessary, and check that it is writable.

        Raises:
            RequestError: it is not writable, or not a ledger.
            RunError: the disk is full.
        """
        try:
            with self._locked():
                pass
        except OSError as error:
            if error.errno in FULL:
                raise not_written(self.path, error) from error
            raise self._rejected(error.strerror or str(error)) from error

    def add(self, look: Look) -> int:
        """Append a line, synced to disk, and return the number of evaluations of this data so far.

        Raises:
            RunError: it cannot be written; existing lines are unchanged.
        """
        try:
            with self._locked() as file:
                file.seek(0)
                text = file.read().decode("utf-8", "replace")
                looks = 1 + sum(look.is_of(row) for row in csv.DictReader(io.StringIO(text, newline="")))
                values = {**asdict(look), "metrics": json.dumps(dict(look.metrics)), "looks": looks}
                values |= {"when": now(), "value": look.metrics.get(look.metric, "")}
                torn = "" if text.endswith("\n") else "\n"  # a process was killed while writing a line
                append(file, torn + line(values[column] for column in COLUMNS))
        except OSError as error:
            raise not_written(self.path, error, "; this evaluation on the test split is not recorded") from error
        return looks

    @contextmanager
    def _locked(self) -> Iterator[io.FileIO]:
        """Open the file, created with its header if necessary, with an exclusive lock."""
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
            raise RequestError(f"ledger={self.path}: not a ledger of cellstate; give another file")

    def _rejected(self, reason: str) -> RequestError:
        return RequestError(f"ledger={self.path}: cannot be written ({reason}); give another file with ledger=FILE")


def append(file: io.FileIO, text: str) -> None:
    """Append to an unbuffered file atomically, synced to disk."""
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
    """Return values as a CSV line."""
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerow(values)
    return written.getvalue()


def source_of(data: Any) -> str:
    """Return the source of the test split of a datamodule: its file, or ``data=`` and the class."""
    path = getattr(data, "test_path", None) or getattr(data, "path", None)
    return str(Path(path).expanduser().resolve()) if path else GENERATED + type(data).__name__


def spoken(looks: int, path: str | Path) -> str:
    """Return the sentence on the number of evaluations of a test split."""
    return f"test split evaluated {'once' if looks == 1 else f'{looks:,} times'} ({path})"
