"""One run of a benchmark in a process of its own, which is stopped gracefully when the benchmark is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from cellstate.benchmarking import attempts
from cellstate.benchmarking.plan import Job
from cellstate.config.words import quoted
from cellstate.errors import no_run_folder
from cellstate.runs.folder import LOCK
from cellstate.runs.lock import is_held
from cellstate.runs.stopping import handling

POLL = 0.2  # seconds between two checks of a run that another process works on
ERROR = "cellstate: error: "

# Runs ``cellstate train`` with the import path of this process.
START = (
    "import json, runpy, sys; job = json.loads(sys.argv[1]); sys.path[:] = job['path']; "
    "from cellstate.benchmarking.child import follow; follow(*job['follow']); "
    "sys.argv = ['cellstate', *job['words']]; runpy.run_module('cellstate', run_name='__main__')"
)


class Stopping:
    """Ctrl-C and SIGTERM: the first ends the current run once it has saved its state, a second one at once."""

    def __init__(self) -> None:
        self.asked = False
        self._child: subprocess.Popen[bytes] | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals."""
        with handling(self._note):
            yield

    def wait(self, child: subprocess.Popen[bytes]) -> int:
        """Return the exit status of a run's process.

        Raises:
            KeyboardInterrupt: the benchmark was asked to stop, and the process has ended.
        """
        self._child = child
        try:
            if self.asked:  # while the process was started
                child.terminate()
            status = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
        finally:
            self._child = None
        self.check()
        return status

    def wait_for_others(self, folder: Path) -> None:
        """Wait until no other process works on a run folder, such as one that a killed benchmark has left."""
        while is_held(folder / LOCK):
            self.check()
            time.sleep(POLL)

    def check(self) -> None:
        """Raise KeyboardInterrupt if the benchmark was asked to stop."""
        if self.asked:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL if self.asked else signal.SIGTERM)
        self.asked = True


def train(job: Job, stopping: Stopping, *, ledger: Path, config_dir: Path | None) -> str | None:
    """Train or resume a run; return why it failed, None if it is complete.

    Raises:
        RequestError: its folder cannot be created.
        KeyboardInterrupt: the benchmark was asked to stop; the run can be resumed.
    """
    try:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        attempts.begin(job.folder, job.files)
        with job.log.open("ab") as log:
            beginning = log.seek(0, os.SEEK_END)
            child = start(job, log.fileno(), ledger, config_dir)
    except OSError as error:
        raise no_run_folder(job.folder, error, "folder") from error
    status = stopping.wait(child)
    return None if status == 0 else reason(job.log, beginning, status)


def start(job: Job, log: int, ledger: Path, config_dir: Path | None) -> subprocess.Popen[bytes]:
    """Start ``cellstate train``, which resumes the run in the folder if there is one.

    It has a session of its own, so that Ctrl-C only reaches this process, which coordinates the stop.
    """
    own = [f"hydra.run.dir={quoted(str(job.folder))}", f"ledger={quoted(str(ledger))}", "resume=auto"]
    options = [] if config_dir is None else ["--config-dir", str(config_dir)]
    task = {
        "path": [entry for entry in sys.path if isinstance(entry, str)],  # other entries are ignored
        "follow": [os.getpid(), str(job.folder), time.time()],
        "words": ["train", *options, *job.words, *own],
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-c", START, json.dumps(task)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def reason(log: Path, beginning: int, status: int) -> str:
    """Return in one line why a process failed: its own errors, else how it ended."""
    with log.open("rb") as file:
        file.seek(beginning)
        lines = file.read().decode("utf-8", "replace").splitlines()
    if errors := [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]:
        return "; ".join(errors)
    if status < 0:
        killed = " (is there enough memory?)" if -status == signal.SIGKILL else ""
        return f"ended by {signal.Signals(-status).name}{killed}"
    return next((line.strip() for line in reversed(lines) if line.strip()), f"exit status {status}")
