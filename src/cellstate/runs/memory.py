"""The available memory."""

from __future__ import annotations

import os
from pathlib import Path

from cellstate.errors import RequestError

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container, v2 and v1


def memory_bytes() -> int:
    """Return the memory of this machine, or of the container around this process if that is less.

    Returns 2^62 if it is unknown.
    """
    try:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):
        found = [2**62]
    for name in _LIMITS:
        try:
            found.append(int(Path(name).read_text()))
        except (OSError, ValueError):  # none, or "max"
            continue
    return min(found)


def refuse_beyond_memory(wanted: int, what: str, remedy: str) -> None:
    """Reject a request that needs more memory than this machine has.

    Args:
        wanted: lower bound of the bytes needed.
        what: what needs them, such as ``data.length=1000000000``.
        remedy: what to do, such as ``use fewer sequences``.

    Raises:
        RequestError: this machine has less.
    """
    there = memory_bytes()
    if wanted > there:
        raise RequestError(
            f"{what} needs {wanted / 2**30:,.0f} GiB of memory, but this machine has {there / 2**30:,.0f} GiB; {remedy}"
        )
