"""In the process of one run: end it with the benchmark, and record what it took."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from pathlib import Path

from cellstate.benchmarking import attempts

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

POLL = 0.5  # seconds between two checks of the benchmark's process
KIBIBYTE = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss


def follow(parent: int, folder: str, began: float) -> None:
    """Stop this process when its parent is gone, and record its seconds and memory as it ends.

    Args:
        parent: process id of the benchmark.
        folder: the run folder.
        began: the time at which the process was started.
    """
    atexit.register(record, Path(folder), began)
    threading.Thread(target=stop_with, args=(parent,), daemon=True).start()


def stop_with(parent: int) -> None:
    """Ask the run to save its state and to end when the parent process is gone."""
    while os.getppid() == parent:
        time.sleep(POLL)
    os.kill(os.getpid(), signal.SIGTERM)


def record(folder: Path, began: float) -> None:
    """Record seconds, CPU seconds, and the peak memory of the largest process, in the run's folder."""
    attempts.complete(folder, seconds=round(time.time() - began, 3), **used())


def used() -> dict[str, float | int]:
    """Return the CPU seconds and the peak memory of this process and those that it started; empty on Windows."""
    if resource is None:
        return {}
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "cpu_seconds": round(own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime, 3),
        "memory_bytes": max(own.ru_maxrss, others.ru_maxrss) * KIBIBYTE,
    }
