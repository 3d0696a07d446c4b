"""What a process that ``launcher.together`` started runs: its part of the work, for as long as the first one lives."""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import suppress
from pkgutil import resolve_name
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import record

POLL = 0.5  # seconds between two looks at the first process


@record  # leaves an error where the first process finds it
def main(work: str, arguments: dict[str, Any], parent: int, folder: str) -> None:
    """Call a function, and end when the first process does.

    Args:
        work: the function, as ``module:name``.
        arguments: its own.
        parent: the first process.
        folder: what it keeps for the time of this work.
    """
    threading.Thread(target=end_with, args=(parent, folder), daemon=True).start()
    hush()
    with suppress(KeyboardInterrupt):  # all stop together, and the first one says so
        resolve_name(work)(**arguments)


def hush() -> None:
    """Say nothing from here on: what the user reads is what the first process says."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def end_with(parent: int, folder: str) -> None:
    """End this process at once when the one that started it is gone, however that ended, and tidy up for it."""
    while os.getppid() == parent:
        time.sleep(POLL)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
