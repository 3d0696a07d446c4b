"""Cleaning up after a request that was refused before a run began. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path


def discard_unclaimed(path: Path) -> None:
    """Remove the folder of a request that was refused, if nothing lies in it.

    Folders above it go too where they are empty and lie in ``outputs/``, where cellstate made them itself.
    """
    working, outputs = Path.cwd(), Path.cwd() / "outputs"
    folder = path.resolve()
    while folder.is_dir() and folder != working and not any(folder.iterdir()):
        try:
            folder.rmdir()
        except OSError:  # another process has begun to use it
            return
        folder = folder.parent
        if outputs not in (folder, *folder.parents):
            return
