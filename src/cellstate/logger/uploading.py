"""Find offline runs of W&B and upload each with ``wandb sync``.

With several runs, ``wandb sync`` (0.31) uploads none if one cannot be read; without a server it never returns.
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

from cellstate.runs.lock import is_held

OFFLINE, ONLINE = "offline-run-*/run-*.wandb", "run-*/run-*.wandb"


@dataclass(frozen=True)
class OfflineRun:
    """A run with W&B files that may not be uploaded yet.

    Attributes:
        id: the id of the run.
        folder: the run folder, or any folder with a folder ``wandb``.
        parts: its files, the oldest first: one for the start and one for each resume.
    """

    id: str
    folder: Path
    parts: tuple[Path, ...]

    @property
    def uploaded(self) -> bool:
        """Whether all parts are uploaded: ``wandb sync`` marks each."""
        return all(part.with_name(f"{part.name}.synced").exists() for part in self.parts)

    @property
    def going_on(self) -> bool:
        """Whether a process is working on it."""
        manifest = self.folder / "manifest.json"
        if not manifest.is_file() or json.loads(manifest.read_text()).get("status") != "running":
            return False
        return is_held(self.folder / ".lock")


def find_runs(places: Iterable[Path], *, online: bool = False) -> list[OfflineRun]:
    """Return the offline runs in folders and their subfolders, sorted by folder.

    Args:
        places: the folders.
        online: also return runs logged online, which may be incomplete if the connection was lost.
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
    """Upload all parts of one run under one id; return None, or the error.

    Args:
        run: the run.
        seconds: timeout; ``wandb sync`` has none.
    """
    command = [sys.executable, "-P", "-m", "wandb", "sync", "--yes", "--include-online", *map(str, run.parts)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
            env={**os.environ, "PYTHONPATH": import_path()},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"timeout after {seconds:g} s"
    if run.uploaded:
        return None
    output = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return output[-1].strip() if output else f"wandb sync ended with exit status {done.returncode}"


def import_path() -> str:
    """Return the import path of this process without the working directory, whose files are untrusted."""
    return os.pathsep.join(place for place in sys.path if place and Path(place).resolve() != Path.cwd())


def unreachable(host: str, seconds: float = 10.0) -> str | None:
    """Return the reason if a server does not answer within a timeout; None if it answers."""
    try:
        urllib.request.urlopen(host, timeout=seconds).close()
    except urllib.error.HTTPError:  # an answer
        return None
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        return None if isinstance(reason, ssl.SSLError) else str(reason)  # W&B may have the certificate
    return None
