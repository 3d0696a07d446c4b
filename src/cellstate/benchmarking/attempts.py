"""The record of a run's processes: the files it was trained on, and the seconds and memory that it took.

``attempts.json`` in the run folder. The benchmark adds an entry before it starts a process, which completes the entry
as it ends; that of a process that was killed stays open.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellstate.runs.folder import now
from cellstate.runs.json_file import read_json
from cellstate.runs.writing import write_whole

FILE = "attempts.json"
OPEN = {"seconds": None, "cpu_seconds": None, "memory_bytes": None}


def read(folder: Path) -> dict[str, Any]:
    """Return the record of a run folder; an empty one if there is none."""
    content = read_json(folder / FILE)
    files, entries = content.get("files"), content.get("attempts")
    if isinstance(files, dict) and isinstance(entries, list) and all(map(is_entry, entries)):
        return content
    return {"files": {}, "attempts": []}


def is_entry(value: Any) -> bool:
    """Whether a value is the entry of a process."""
    return isinstance(value, dict) and value.keys() >= OPEN.keys()


def begin(folder: Path, files: Sequence[Path]) -> None:
    """Add an entry for a process that is about to start; the record is a new one if there is no run to resume."""
    content = read(folder) if (folder / "manifest.json").exists() else {"files": {}, "attempts": []}
    content["files"] = content["files"] or digests(files)
    content["attempts"].append({"started": now(), **OPEN})
    write(folder, content)


def complete(folder: Path, **usage: Any) -> None:
    """Complete the newest entry."""
    content = read(folder)
    if content["attempts"]:
        content["attempts"][-1].update(usage)
        write(folder, content)


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the record."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / FILE, lambda draft: draft.write_text(json.dumps(content, indent=1) + "\n"))


def usage(folder: Path) -> dict[str, Any]:
    """Return seconds of all processes of a run, None if one was killed, and the largest memory known."""
    entries = read(folder)["attempts"]
    memory = [entry["memory_bytes"] for entry in entries if entry["memory_bytes"] is not None]
    return {
        **{name: total([entry[name] for entry in entries]) for name in ("seconds", "cpu_seconds")},
        "memory_bytes": max(memory, default=None),
    }


def total(values: Sequence[float | None]) -> float | None:
    """Return the sum of values; None without any, or if one is not known."""
    known = [value for value in values if value is not None]
    return round(sum(known), 3) if known and len(known) == len(values) else None


def same_files(folder: Path, files: Sequence[Path]) -> bool:
    """Whether the existing files of a run have the content that it was trained on, as far as that was recorded."""
    before = read(folder)["files"]
    return all(before.get(name, digest) == digest for name, digest in digests(files).items())


def digests(files: Sequence[Path]) -> dict[str, str]:
    """Return path -> SHA-256 of the existing files, for a folder of all that it contains."""
    return {str(file): of_folder(file) if file.is_dir() else of_file(file) for file in files if file.exists()}


def of_folder(path: Path) -> str:
    """Return the SHA-256 over the names and digests of all files of a folder."""
    parts = [f"{file.relative_to(path)} {of_file(file)}" for file in sorted(path.rglob("*")) if file.is_file()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def of_file(path: Path) -> str:
    """Return the SHA-256 of a file, which all runs on it ask for."""
    facts = path.stat()
    return _digest(path, facts.st_mtime_ns, facts.st_size)


@functools.cache
def _digest(path: Path, changed: int, size: int) -> str:  # noqa: ARG001 (of the cache)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
