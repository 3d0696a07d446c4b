"""The folder of a sweep: which jobs it has, who works on which, and what became of them.

``sweep.json`` lists the jobs. What became of a job is read from its run folder, so that the list is right again after
any kill; it is written anew whenever a job begins or ends, by the process that worked on it, and from the run folders
where it was lost. Processes that write at the same time wait for each other, on one machine and, where the file system
knows locks, on several.
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
from cellstate.sweep.identity import Job
from cellstate.sweep.tables import write_tables
from cellstate.sweep.telling_apart import tell_apart

LISTED = frozenset({"folder", "key", "group", "words", "overrides", "repeat", "status", "failure", "changed"})
STATUSES = ("completed", "pruned", "running", "interrupted", "failed", "pending")


@dataclass
class Claim:
    """The right to work on a job, for as long as this process holds it."""

    row: dict[str, Any]
    lock: Lock
    file: Path


class ListError(RequestError):
    """``sweep.json`` is not what a sweep writes."""


class SweepFolder:
    """``outputs/sweeps/NAME/``.

    Args:
        path: the folder; it is made where it is not there.
        named_by: the key of the config that says so.

    Raises:
        RequestError: no folder can be made there.
    """

    def __init__(self, path: Path, named_by: str = "sweep.name") -> None:
        self.path = path
        self._locks = path / ".locks"  # a file a job that is being worked on
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise no_run_folder(path, error, named_by) from error

    # ------------------------------------------------------------------ the list

    def plan(
        self, jobs: Iterable[Job], command: Sequence[str], by: str | None = None, *, forget: bool = False
    ) -> list[dict[str, Any]]:
        """Add jobs to the list, those that it lacks; return the rows of all these jobs.

        Args:
            jobs: all that the command consists of now.
            command: its words.
            by: a name that no other command has.
            forget: take from the list what earlier commands were refused: jobs that failed and have no folder.
        """
        wanted = {job.key: job for job in jobs}

        def add(content: dict[str, Any]) -> None:
            if forget:
                content["jobs"] = [row for row in content["jobs"] if row["key"] in wanted or not self._refused(row)]
            known = {row["key"] for row in content["jobs"]}
            content["jobs"] += [results.new_row(job.row()) for key, job in wanted.items() if key not in known]
            for row in content["jobs"]:
                if row["key"] in wanted:
                    row["by"] = by
                    if row.pop("adopted", False):  # the command knows better what it is called than its folder does
                        row.update({**wanted[row["key"]].row(), "folder": row["folder"]})
            tell_apart(content["jobs"], lambda row: self._trains(row, wanted))
            if list(command) not in content["commands"]:
                content["commands"].append(list(command))

        return [row for row in self._change(add)["jobs"] if row["key"] in wanted]

    def _trains(self, row: Mapping[str, Any], wanted: Mapping[str, Job]) -> dict[str, Any] | None:
        """Return what of a job's config decides on the training; None where neither command nor folder says so."""
        job = wanted.get(row["key"])
        if job is None or job.trains is None:
            return trains(self.path / row["folder"])
        return job.trains

    def _refused(self, row: Mapping[str, Any]) -> bool:
        """Say whether a job failed before it had a folder, in a command that is over."""
        if self._observe(dict(row)) != "failed" or (self.path / row["folder"] / "manifest.json").exists():
            return False
        return row.get("by") is None or not is_held(self._command_file(row["by"]))

    @contextmanager
    def attended(self, by: str) -> Iterator[None]:
        """Let other commands know that this one goes on."""
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
        """Read again what became of the jobs, write it, and return the content of ``sweep.json``."""
        return self._change(lambda _: None)

    def read(self) -> dict[str, Any]:
        """Return the content of ``sweep.json`` as it was last written.

        Raises:
            ListError: it is not what a sweep writes.
            RequestError: it cannot be read.
        """
        file = self.path / "sweep.json"
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(content["jobs"], list) or not isinstance(content["commands"], list):
                raise TypeError("jobs and commands should be lists")
            for row in content["jobs"]:
                if not row.keys() >= LISTED or Path(row["folder"]).name != row["folder"]:
                    raise TypeError("a job lacks what each of them has")
        except FileNotFoundError:
            return self._empty()
        except OSError as error:
            raise RequestError(f"{file}: cannot be read ({error.strerror}); mend its permissions") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ListError(f"{file}: cannot be read as the list of a sweep's jobs ({error})") from error
        return content

    def _empty(self) -> dict[str, Any]:
        return {"name": self.path.name, "created": _now(), "updated": None, "commands": [], "jobs": []}

    def observe(self, keys: Collection[str]) -> list[dict[str, Any]]:
        """Return the rows of jobs as their folders are now, without writing anything."""
        with (self.path / LOCK).open("a") as file, exclusively(file):
            rows = [row for row in self.read()["jobs"] if row["key"] in keys]
            for row in rows:
                self._observe(row)
        return rows

    def note(self, name: str, value: Any) -> dict[str, Any]:
        """Keep something of the sweep as a whole beside the list; return the content of ``sweep.json``."""
        return self._change(lambda content: content.update({name: value}))

    # ------------------------------------------------------------------ one job

    def take(self, name: str, by: str) -> Claim | None:
        """Take a job to work on; None where it is complete, another process works on it, or ``by`` was told to stop.

        Args:
            name: the job's folder.
            by: the command that asks.
        """
        taken: Claim | None = None

        def begin(content: dict[str, Any]) -> None:
            nonlocal taken
            row = next((row for row in content["jobs"] if row["folder"] == name), None)
            if row is None:  # the list was removed meanwhile; whoever planned the job finds that it was not begun
                return
            if self._stop_file(by).exists() or self._observe(row) in ("completed", "running"):
                return
            file = self._locks / row["key"]
            taken = Claim(row, Lock(file), file)
            file.write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "by": by}))
            row["failure"] = None

        self._change(begin)
        return taken

    def conclude(self, claim: Claim, error: Exception | None = None) -> None:
        """Give a job back, and note what made it fail if something did."""

        def end(content: dict[str, Any]) -> None:
            row = next((row for row in content["jobs"] if row["key"] == claim.row["key"]), None)
            if row is None:  # the list was removed meanwhile, and the job has no folder by which it is found again
                row = claim.row
                content["jobs"].append(row)
            row["failure"] = None if error is None else failure(error)
            claim.lock.release()
            claim.file.unlink(missing_ok=True)

        self._change(end)

    # ------------------------------------------------------------------ stopping

    def tell_to_stop(self, by: str) -> list[int]:
        """Have no more jobs begun for a command; return the processes of this machine that work on one for it."""
        with (self.path / LOCK).open("a") as file, exclusively(file):
            self._stop_file(by).touch()
            working = []
            for lock in self._locks.iterdir():
                with suppress(OSError, ValueError):
                    holder = json.loads(lock.read_text())
                    if holder["by"] == by and holder["host"] == socket.gethostname() and is_held(lock):
                        working.append(holder["process"])
        return working

    def forget_stop(self, by: str) -> None:
        """Clear away what ``tell_to_stop`` left."""
        self._stop_file(by).unlink(missing_ok=True)

    def _stop_file(self, by: str) -> Path:
        return self._locks / f"stop-{by}"

    # ------------------------------------------------------------------ reading and writing

    def _change(self, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Change the list while no other process does, bring it up to date, and write it."""
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
        """Return the content of ``sweep.json``, of which nothing is left where it is broken; that is put aside."""
        try:
            return self.read()
        except ListError as error:
            names = (f"sweep.json.broken-{number}" for number in itertools.count(1))
            aside = next(name for name in names if not (self.path / name).exists())
            (self.path / "sweep.json").rename(self.path / aside)
            warn(f"{error}; it is {aside} now, and is written anew")
            return self._empty()

    def _observe(self, row: dict[str, Any]) -> str:
        """Bring a row up to date with the job's run folder; return its status."""
        folder = self.path / row["folder"]
        changed = _changed(folder / "manifest.json")
        if row["status"] == "completed" and row["changed"] == changed is not None:
            return row["status"]  # of a large sweep, most are: they need not be read again
        held = is_held(self._locks / row["key"])
        row.update(results.of_run(folder, held or is_held(folder / LOCK), row["failure"]), changed=changed)
        return row["status"]


def completed_keys(path: Path) -> set[str]:
    """Return the hashes of the jobs that are complete by the list in a sweep's folder; none where there is no list."""
    try:
        rows = json.loads((path / "sweep.json").read_text(encoding="utf-8"))["jobs"]
        return {row["key"] for row in rows if row["status"] == "completed"}
    except (OSError, ValueError, TypeError, KeyError):
        return set()


def failure(error: Exception) -> dict[str, Any]:
    """Return why a job failed, as the list keeps it."""
    if isinstance(error, CellstateError):
        found = {"problems": list(error.problems), "exit_status": error.exit_status}
        return {**found, "passing": True} if isinstance(error, NotWrittenError) else found
    return {"problems": [f"{type(error).__name__}: {error}; HYDRA_FULL_ERROR=1 shows where"], "exit_status": 1}


def count(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many jobs have which status, of those statuses that occur."""
    found = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    return {status: number for status, number in found.items() if number}


def _changed(file: Path) -> int | None:
    """Return the time of a file's last change in nanoseconds, None where there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
