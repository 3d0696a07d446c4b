"""The folder of a sweep: its jobs, the processes that work on them, and their results.

``sweep.json`` lists the jobs. The status of a job is read from its run folder, so that the list is correct after any
crash; the process that runs a job rewrites the list when the job starts or ends. A lost list is rebuilt from the run
folders. Concurrent writers wait for each other, on one machine and, if the file system supports locks, on several.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cellstate.errors import CellstateError, NotWrittenError, RequestError, no_run_folder, warn
from cellstate.runs.folder import LOCK
from cellstate.runs.lock import Lock, exclusively, is_held
from cellstate.runs.writing import write_whole
from cellstate.sweep import results
from cellstate.sweep.adoption import adopt, trains
from cellstate.sweep.disambiguation import disambiguate
from cellstate.sweep.identity import Job
from cellstate.sweep.tables import write_tables

LISTED = frozenset({"folder", "key", "group", "words", "overrides", "repeat", "status", "failure", "changed"})
STATUSES = ("completed", "pruned", "running", "interrupted", "failed", "pending")


@dataclass
class Claim:
    """The exclusive right of this process to work on a job."""

    row: dict[str, Any]
    lock: Lock
    file: Path


class ListError(RequestError):
    """``sweep.json`` is invalid."""


class SweepFolder:
    """``outputs/sweeps/NAME/``, created if missing; ``named_by`` is the key that errors refer to."""

    def __init__(self, path: Path, named_by: str = "sweep.name") -> None:
        self.path = path
        self._locks = path / ".locks"  # a file for each job that is being worked on
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise no_run_folder(path, error, named_by) from error

    # ------------------------------------------------------------------ the list

    def plan(
        self, jobs: Iterable[Job], command: Sequence[str], by: str | None = None, *, forget: bool = False
    ) -> list[dict[str, Any]]:
        """Add jobs that are not listed yet; return the rows of all these jobs.

        Args:
            jobs: of the command.
            command: its words.
            by: unique name of the command.
            forget: remove jobs of earlier commands that were rejected, which failed and have no folder.
        """
        wanted = {job.key: job for job in jobs}

        def add(content: dict[str, Any]) -> None:
            if forget:
                content["jobs"] = [row for row in content["jobs"] if row["key"] in wanted or not self._rejected(row)]
            known = {row["key"] for row in content["jobs"]}
            content["jobs"] += [results.new_row(job.row()) for key, job in wanted.items() if key not in known]
            for row in content["jobs"]:
                if row["key"] in wanted:
                    row["by"] = by
                    if row.pop("adopted", False):  # the command's names are more accurate than those of the folder
                        row.update({**wanted[row["key"]].row(), "folder": row["folder"]})
            disambiguate(content["jobs"], lambda row: self._trains(row, wanted))
            if list(command) not in content["commands"]:
                content["commands"].append(list(command))

        return [row for row in self._change(add)["jobs"] if row["key"] in wanted]

    def _trains(self, row: Mapping[str, Any], wanted: Mapping[str, Job]) -> dict[str, Any] | None:
        """Return the part of a job's config that affects training, from the command or its folder; None if unknown."""
        job = wanted.get(row["key"])
        if job is None or job.trains is None:
            return trains(self.path / row["folder"])
        return job.trains

    def _rejected(self, row: Mapping[str, Any]) -> bool:
        """Whether a job failed before it had a folder, in a command that has ended."""
        if self._observe(dict(row)) != "failed" or (self.path / row["folder"] / "manifest.json").exists():
            return False
        return row.get("by") is None or not is_held(self._command_file(row["by"]))

    @contextmanager
    def registered(self, by: str) -> Iterator[None]:
        """Mark a command as running for other commands."""
        file = self._command_file(by)
        lock = Lock(file)
        try:
            yield
        finally:
            lock.release()
            file.unlink(missing_ok=True)

    def _command_file(self, by: str) -> Path:
        return self._locks / f"command-{by}"

    def refresh(self) -> dict[str, Any]:
        """Update the status of all jobs, and return the content of ``sweep.json``."""
        return self._change(lambda _: None)

    def read(self) -> dict[str, Any]:
        """Return the content of ``sweep.json`` as last written.

        Raises:
            ListError: its content is invalid.
            RequestError: it cannot be read.
        """
        file = self.path / "sweep.json"
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(content["jobs"], list) or not isinstance(content["commands"], list):
                raise TypeError("jobs and commands should be lists")
            for row in content["jobs"]:
                if not row.keys() >= LISTED or Path(row["folder"]).name != row["folder"]:
                    raise TypeError("a job lacks required keys")
        except FileNotFoundError:
            return self._empty()
        except OSError as error:
            raise RequestError(f"{file}: cannot be read ({error.strerror}); fix its permissions") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ListError(f"{file}: is not a valid list of a sweep's jobs ({error})") from error
        return content

    def _empty(self) -> dict[str, Any]:
        return {"name": self.path.name, "created": _now(), "updated": None, "commands": [], "jobs": []}

    def observe(self, keys: Collection[str]) -> list[dict[str, Any]]:
        """Return the current rows of jobs, without writing anything."""
        with (self.path / LOCK).open("a") as file, exclusively(file):
            rows = [row for row in self.read()["jobs"] if row["key"] in keys]
            for row in rows:
                self._observe(row)
        return rows

    def note(self, name: str, value: Any) -> dict[str, Any]:
        """Store a value in ``sweep.json`` next to the list of jobs; return its content."""
        return self._change(lambda content: content.update({name: value}))

    # ------------------------------------------------------------------ one job

    def take(self, name: str, by: str) -> Claim | None:
        """Claim a job; None if it is complete, claimed by another process, or ``by`` was asked to stop."""
        taken: Claim | None = None

        def begin(content: dict[str, Any]) -> None:
            nonlocal taken
            row = next((row for row in content["jobs"] if row["folder"] == name), None)
            if row is None:  # the list was removed; the command will find that the job was not started
                return
            if self._stop_file(by).exists() or self._observe(row) in ("completed", "running"):
                return
            file = self._locks / row["key"]
            taken = Claim(row, Lock(file), file)
            file.write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "by": by}))
            row["failure"] = None

        self._change(begin)
        return taken

    def release(self, claim: Claim, error: Exception | None = None) -> None:
        """Release a job, and record its failure, if any."""

        def end(content: dict[str, Any]) -> None:
            row = next((row for row in content["jobs"] if row["key"] == claim.row["key"]), None)
            if row is None:  # the list was removed, and the job may have no folder from which to recover it
                row = claim.row
                content["jobs"].append(row)
            row["failure"] = None if error is None else failure(error)
            claim.lock.release()
            claim.file.unlink(missing_ok=True)

        self._change(end)

    # ------------------------------------------------------------------ stopping

    def request_stop(self, by: str) -> list[int]:
        """Prevent further jobs of a command from starting; return the processes of this machine that run its jobs."""
        with (self.path / LOCK).open("a") as file, exclusively(file):
            self._stop_file(by).touch()
            working = []
            for lock in self._locks.iterdir():
                with suppress(OSError, ValueError):
                    holder = json.loads(lock.read_text())
                    if holder["by"] == by and holder["host"] == socket.gethostname() and is_held(lock):
                        working.append(holder["process"])
        return working

    def clear_stop(self, by: str) -> None:
        """Undo ``request_stop``."""
        self._stop_file(by).unlink(missing_ok=True)

    def _stop_file(self, by: str) -> Path:
        return self._locks / f"stop-{by}"

    # ------------------------------------------------------------------ reading and writing

    def _change(self, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Change, update and write the list under an exclusive lock."""
        with (self.path / LOCK).open("a") as file, exclusively(file):
            content = self._read_or_rebuild()
            adopt(self.path, content)
            change(content)
            for row in content["jobs"]:
                self._observe(row)
            content["updated"] = _now()
            content["repeats"] = sorted({key for row in content["jobs"] for key in row["repeat"]})
            content["groups"] = results.groups(content["jobs"])
            text = json.dumps(content, indent=1, allow_nan=False) + "\n"
            write_whole(self.path / "sweep.json", lambda draft: draft.write_text(text))
            write_tables(self.path, content)
        return content

    def _read_or_rebuild(self) -> dict[str, Any]:
        """Return the content of ``sweep.json``; if it is broken, rename it and return an empty one."""
        try:
            return self.read()
        except ListError as error:
            names = (f"sweep.json.broken-{number}" for number in itertools.count(1))
            aside = next(name for name in names if not (self.path / name).exists())
            (self.path / "sweep.json").rename(self.path / aside)
            warn(f"{error}; renamed it to {aside} and rebuilt it from the run folders")
            return self._empty()

    def _observe(self, row: dict[str, Any]) -> str:
        """Update a row from the job's run folder; return its status."""
        folder = self.path / row["folder"]
        changed = _changed(folder / "manifest.json")
        if row["status"] == "completed" and row["changed"] == changed is not None:
            return row["status"]  # need not be read again
        held = is_held(self._locks / row["key"])
        row.update(results.of_run(folder, held or is_held(folder / LOCK), row["failure"]), changed=changed)
        return row["status"]


def completed_keys(path: Path) -> set[str]:
    """Return the hashes of the completed jobs in a sweep's ``sweep.json``; empty without a valid file."""
    try:
        rows = json.loads((path / "sweep.json").read_text(encoding="utf-8"))["jobs"]
        return {row["key"] for row in rows if row["status"] == "completed"}
    except (OSError, ValueError, TypeError, KeyError):
        return set()


def failure(error: Exception) -> dict[str, Any]:
    """Return the failure of a job, in the format of ``sweep.json``."""
    if isinstance(error, CellstateError):
        found = {"problems": list(error.problems), "exit_status": error.exit_status}
        return {**found, "passing": True} if isinstance(error, NotWrittenError) else found
    return {
        "problems": [f"{type(error).__name__}: {error}; HYDRA_FULL_ERROR=1 shows the traceback"],
        "exit_status": 1,
    }


def count(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of jobs of each status that occurs."""
    found = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    return {status: number for status, number in found.items() if number}


def _changed(file: Path) -> int | None:
    """Return the modification time of a file in nanoseconds; None if it does not exist."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
