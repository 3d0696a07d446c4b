"""Main function of the processes that ``launcher.together`` starts."""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import suppress
from pkgutil import resolve_name
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import record

POLL = 0.5  # seconds between two checks of the first process


@record  # records an error for the first process
def main(work: str, arguments: dict[str, Any], parent: int, folder: str) -> None:
    """Call a function, and exit when the first process does.

    Args:
        work: the function, as ``module:name``.
        arguments: its arguments.
        parent: process id of the first process.
        folder: its temporary folder.
    """
    threading.Thread(target=end_with, args=(parent, folder), daemon=True).start()
    silence()
    with suppress(KeyboardInterrupt):  # all stop together; the first one reports it
        resolve_name(work)(**arguments)


def silence() -> None:
    """Redirect stdout and stderr to null: only the first process prints."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def end_with(parent: int, folder: str) -> None:
    """Exit at once when the parent process is gone, and remove its temporary folder."""
    while os.getppid() == parent:
        time.sleep(POLL)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
