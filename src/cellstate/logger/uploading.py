"""Uploading what W&B logged offline: finding it, and handing it over to ``wandb sync``, run by run.

Given several files, ``wandb sync`` (0.31) uploads none of them if one cannot be read; without a server it never ends.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cellstate.errors import RequestError
from cellstate.runs.lock import Lock

OFFLINE, ONLINE = "offline-run-*/run-*.wandb", "run-*/run-*.wandb"


@dataclass(frozen=True)
class OfflineRun:
    """A run of which W&B has files that may not be on the server.

    Attributes:
        id: the run's own.
        folder: the run folder, or whatever holds the folder ``wandb``.
        parts: its files, the oldest first: one for the start and for each time it was resumed.
    """

    id: str
    folder: Path
    parts: tuple[Path, ...]

    @property
    def uploaded(self) -> bool:
        """Whether all parts are on the server: ``wandb sync`` leaves a mark beside each."""
        return all(part.with_name(f"{part.name}.synced").exists() for part in self.parts)

    @property
    def going_on(self) -> bool:
        """Whether a process works on it right now."""
        manifest = self.folder / "manifest.json"
        if not manifest.is_file() or json.loads(manifest.read_text()).get("status") != "running":
            return False
        try:
            Lock(self.folder / ".lock").release()
        except RequestError:
            return True
        return False


def find_runs(places: Iterable[Path], *, online: bool = False) -> list[OfflineRun]:
    """Return the offline runs in some folders and all below them, by their folders.

    Args:
        places: where to look.
        online: whether to take those too that were logged online, as one that lost its server has not sent it all.
    """
    patterns = [OFFLINE, ONLINE] if online else [OFFLINE]
    parts: dict[tuple[Path, str], set[Path]] = {}
    for place in places:
        for file in [file for pattern in patterns for file in place.rglob(pattern)]:
            folder = file.parents[2] if file.parents[1].name == "wandb" else file.parent
            parts.setdefault((folder, file.stem.removeprefix("run-")), set()).add(file)
    return [
        OfflineRun(name, folder, tuple(sorted(files, key=lambda file: file.parent.name.removeprefix("offline-"))))
        for (folder, name), files in sorted(parts.items())
    ]


def upload(run: OfflineRun, seconds: float) -> str | None:
    """Upload one run, all its parts under its one id; return None, or what went wrong.

    Args:
        run: the run.
        seconds: how long it may take; ``wandb sync`` has no limit of its own.
    """
    command = [sys.executable, "-P", "-m", "wandb", "sync", "--yes", "--include-online", *map(str, run.parts)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
            env={**os.environ, "PYTHONPATH": import_path()},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not done after {seconds:g} s"
    if run.uploaded:
        return None
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return said[-1].strip() if said else f"wandb sync ended with exit status {done.returncode}"


def import_path() -> str:
    """Return where this process imports from, without the working folder, whose files may be anybody's."""
    return os.pathsep.join(place for place in sys.path if place and Path(place).resolve() != Path.cwd())


def unreachable(host: str, seconds: float = 10.0) -> str | None:
    """Return why a server does not answer in so many seconds, None where it answers anything at all."""
    try:
        urllib.request.urlopen(host, timeout=seconds).close()
    except urllib.error.HTTPError:  # which is an answer
        return None
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        return None if isinstance(reason, ssl.SSLError) else str(reason)  # W&B may know a certificate that we do not
    return None
