"""The folder of a sweep: which jobs it has, who works on which, and what became of them.

``sweep.json`` lists the jobs. What became of a job is read from its run folder, so that the list is right again after
any kill; it is written anew whenever a job begins or ends, by the process that worked on it. Processes that write at
the same time wait for each other, on one machine and, where the file system knows locks, on several.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cellstate.errors import CellstateError, NotWrittenError, RequestError, no_run_folder
from cellstate.output import write_whole
from cellstate.runs.folder import LOCK
from cellstate.runs.lock import Lock, exclusively, is_held
from cellstate.sweep import results
from cellstate.sweep.identity import Job
from cellstate.sweep.tables import write_tables

STATUSES = ("completed", "pruned", "running", "interrupted", "failed", "pending")


@dataclass
class Claim:
    """The right to work on a job, for as long as this process holds it."""

    row: dict[str, Any]
    lock: Lock
    file: Path


class SweepFolder:
    """``outputs/sweeps/NAME/``.

    Args:
        path: the folder; it is made where it is not there.

    Raises:
        RequestError: no folder can be made there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locks = path / ".locks"  # a file a job that is being worked on
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise no_run_folder(path, error, "sweep.name") from error

    # ------------------------------------------------------------------ the list

    def plan(self, jobs: Iterable[Job], command: Sequence[str]) -> list[dict[str, Any]]:
        """Add jobs to the list, those that it lacks; return the rows of all these jobs."""
        wanted = {job.key: job for job in jobs}

        def add(content: dict[str, Any]) -> None:
            known = {row["key"] for row in content["jobs"]}
            content["jobs"] += [results.new_row(asdict(job)) for key, job in wanted.items() if key not in known]
            if list(command) not in content["commands"]:
                content["commands"].append(list(command))

        return [row for row in self._change(add)["jobs"] if row["key"] in wanted]

    def refresh(self) -> dict[str, Any]:
        """Read again what became of the jobs, write it, and return the content of ``sweep.json``."""
        return self._change(lambda _: None)

    def read(self) -> dict[str, Any]:
        """Return the content of ``sweep.json`` as it was last written.

        Raises:
            RequestError: it cannot be read.
        """
        try:
            content = json.loads((self.path / "sweep.json").read_text())
            if not isinstance(content["jobs"], list):
                raise TypeError
        except FileNotFoundError:
            return {"name": self.path.name, "created": _now(), "updated": None, "commands": [], "jobs": []}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RequestError(
                f"{self.path / 'sweep.json'}: cannot be read as the list of a sweep's jobs ({error}); "
                "move it away, and the same command writes it anew"
            ) from error
        return content

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
            row = next(row for row in content["jobs"] if row["folder"] == name)
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
            row = next(row for row in content["jobs"] if row["key"] == claim.row["key"])
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
            content = self.read()
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

    def _observe(self, row: dict[str, Any]) -> str:
        """Bring a row up to date with the job's run folder; return its status."""
        folder = self.path / row["folder"]
        changed = _changed(folder / "manifest.json")
        if row["status"] == "completed" and row["changed"] == changed is not None:
            return row["status"]  # of a large sweep, most are: they need not be read again
        held = is_held(self._locks / row["key"])
        row.update(results.of_run(folder, held or is_held(folder / LOCK), row["failure"]), changed=changed)
        return row["status"]


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
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
