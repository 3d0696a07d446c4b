"""A run folder: claimed by one run, with a manifest that says what became of it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cellstate.errors import RequestError

PACKAGES = ("cellstate", "torch", "lightning", "hydra-core", "omegaconf", "torchmetrics", "numpy")


class RunFolder:
    """The folder of one run, and its ``manifest.json``.

    The manifest is created with the exclusive flag: of two processes that want the same folder one gets it, and a
    folder that holds a run is never written over.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    def claim(cls, path: Path, **facts: Any) -> RunFolder:
        """Create the folder and its manifest.

        Args:
            path: the folder; it may exist, but must not hold a run.
            facts: what is known before the work begins, such as seed and data fingerprint.

        Raises:
            RequestError: the folder holds a run, or cannot be written.
        """
        manifest = {
            "id": path.name.rsplit("_", 1)[-1],
            "status": "running",
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "started": _now(),
            "finished": None,
            **facts,
            "versions": versions(),
            "git": git_state(),
            "machine": machine(),
        }
        try:
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
            with (path / "manifest.json").open("x") as file:
                json.dump(manifest, file, indent=2)
        except FileExistsError as error:
            raise RequestError(
                f"{path}: the folder holds a run already; leave hydra.run.dir out, or name another folder"
            ) from error
        except OSError as error:
            raise RequestError(
                f"{path}: cannot be written ({error.strerror}); name another folder with hydra.run.dir=FOLDER"
            ) from error
        return cls(path, manifest)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file as a whole: a reader sees the old one or the new one, never half of it."""
        target = self.path / name
        draft = target.with_suffix(".tmp")
        draft.write_text(json.dumps(content, indent=2) + "\n")
        draft.replace(target)

    def update(self, **facts: Any) -> None:
        """Add facts to the manifest."""
        self.manifest.update(facts)
        self.write_json("manifest.json", self.manifest)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Leave in the manifest how the work inside ended: completed, interrupted or failed (and why)."""
        try:
            yield
        except KeyboardInterrupt:
            self.update(status="interrupted", finished=_now())
            raise
        except BaseException as error:
            self.update(status="failed", reason=f"{type(error).__name__}: {error}", finished=_now())
            raise
        else:
            self.update(status="completed", finished=_now())


def versions() -> dict[str, str]:
    """Return the versions of Python and of what results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            from cellstate import __version__

            found[package] = __version__ if package == "cellstate" else "unknown"
    return found


def git_state() -> dict[str, Any] | None:
    """Return commit and cleanliness of the repository around the working folder, None outside of one."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}


def machine() -> dict[str, Any]:
    """Return what the results were computed on."""
    import torch

    facts: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        facts["cuda"] = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return facts


def processor_name() -> str:
    """Return the processor's own name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
