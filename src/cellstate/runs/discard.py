"""Clean up after a request that was rejected before a run started. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path


def discard_unclaimed(path: Path) -> None:
    """Remove the folder of a rejected request if it is empty.

    Empty parent folders inside ``outputs/`` are removed too.
    """
    working, outputs = Path.cwd(), Path.cwd() / "outputs"
    folder = path.resolve()
    while folder.is_dir() and folder != working and not any(folder.iterdir()):
        try:
            folder.rmdir()
        except OSError:  # another process has started to use it
            return
        folder = folder.parent
        if outputs not in (folder, *folder.parents):
            return
