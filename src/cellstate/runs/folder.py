"""A run folder: claimed by one run, with a manifest that records its status."""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from cellstate.errors import RequestError, RunError, no_run_folder
from cellstate.runs.lock import Lock
from cellstate.runs.watching import PrunedError
from cellstate.runs.writing import write_whole

LOCK = ".lock"
PACKAGES = ("cellstate", "torch", "lightning", "hydra-core", "omegaconf", "torchmetrics", "numpy", "polars")


class RunFolder:
    """The folder of one run, and its ``manifest.json``.

    The manifest is created exclusively: only one of several processes can claim a folder, and an existing run is never
    overwritten.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], lock: Lock) -> None:
        self.path, self.manifest, self._lock = path, manifest, lock

    @classmethod
    def claim(cls, path: Path, **facts: Any) -> RunFolder:
        """Create the folder and its manifest.

        Args:
            path: the folder; it may exist, but must not contain a run.
            facts: entries known in advance, such as seed, data fingerprint, versions and machine.

        Raises:
            RequestError: the folder already contains a run, or is not writable.
        """
        manifest = {
            "id": run_id(path),
            "status": "running",
            "command": [*Path(sys.argv[0]).name.split(), *sys.argv[1:]],
            "started": now(),
            "finished": None,
            **facts,
        }
        try:
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
            with (path / "manifest.json").open("x") as file:
                file.write(json.dumps(manifest, indent=2) + "\n")
            lock = Lock(path / LOCK)
            keep_hydra_record(path)
        except OSError as error:
            if isinstance(error, FileExistsError) and (path / "manifest.json").exists():
                raise occupied(path) from error
            _withdraw(path)
            raise no_run_folder(path, error) from error
        return cls(path, manifest, lock)

    @classmethod
    def reclaim(cls, path: Path, **facts: Any) -> RunFolder:
        """Claim the folder of a run that was interrupted, killed or failed.

        Args:
            path: the folder.
            facts: entries that must be unchanged, such as the data fingerprint.

        Raises:
            RequestError: the run is still in progress, or an entry has changed.
        """
        manifest = read_manifest(path)
        lock = Lock(path / LOCK)
        for name, value in facts.items():
            if manifest.get(name) != value:
                lock.release()
                raise RequestError(
                    f"{path}: its {name} was {manifest.get(name)} and is {value} now, so the run cannot be resumed; "
                    "restore the original, or start a new run"
                )
        folder = cls(path, manifest, lock)
        manifest.pop("reason", None)
        folder.update(status="running", finished=None, resumed=[*manifest.get("resumed", []), now()])
        return folder

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file atomically.

        Raises:
            RunError: the disk is full or not writable; an existing file is unchanged.
        """
        text = json.dumps(content, indent=2) + "\n"
        write_whole(self.path / name, lambda draft: draft.write_text(text))

    def update(self, **facts: Any) -> None:
        """Add facts to the manifest."""
        self.manifest.update(facts)
        self.write_json("manifest.json", self.manifest)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record how the code inside ends: completed, pruned, interrupted or failed (with the reason)."""
        try:
            yield
        except BaseException as error:
            status = status_of(error)
            reasons = {"pruned": str(error), "failed": f"{type(error).__name__}: {error}"}
            # If the end cannot be recorded either, the original error takes precedence.
            with suppress(RunError):
                reason = {"reason": reasons[status]} if status in reasons else {}
                self.update(status=status, finished=now(), **reason)
            raise
        else:
            self.update(status="completed", finished=now())
            (self.path / LOCK).unlink(missing_ok=True)  # no process will work on it again
        finally:
            self._lock.release()


class Bystander(RunFolder):
    """The run folder in other processes than the first, which do not write to it."""

    def __init__(self, path: Path) -> None:
        self.path, self.manifest = path, {}

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write nothing."""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record nothing."""
        yield


def status_of(error: BaseException) -> str:
    """Return the status of a run that ended with an error."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "pruned" if isinstance(error, PrunedError) else "failed"


def run_id(path: Path) -> str:
    """Return the id of a new run: the random suffix of its folder's name, else a new one.

    A W&B sweep agent sets the id itself, to find the metrics of the run.
    """
    if "WANDB_SWEEP_ID" in os.environ and os.environ.get("WANDB_RUN_ID"):
        return os.environ["WANDB_RUN_ID"]
    drawn = re.search(r"_([0-9a-f]{8})$", path.name)
    return drawn[1] if drawn else secrets.token_hex(4)


def shortest(folder: Path) -> Path:
    """Return the folder relative to the working directory if it is inside it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def occupied(path: Path) -> RequestError:
    """Return the error for a folder that already contains a run."""
    if read_manifest(path).get("status") == "completed":
        return RequestError(f"{path}: the folder already contains a run; omit hydra.run.dir, or give another folder")
    return RequestError(
        f"{path}: the folder already contains an unfinished run, with its own config; resume it with: "
        f"cellstate train run={path}, or give another folder"
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a run folder.

    Raises:
        RequestError: no such folder, or it does not contain a run.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text())
    except OSError as error:
        what = "no such folder" if not path.exists() else "not a run folder (it has no manifest.json)"
        raise RequestError(f"run={path}: {what}; give a folder created by cellstate train") from error
    except ValueError as error:
        raise RequestError(f"{path / 'manifest.json'}: cannot be read as JSON; it was modified") from error
    if not isinstance(manifest, dict):
        raise RequestError(f"{path / 'manifest.json'}: not a manifest of a run; it was modified")
    return manifest


def keep_hydra_record(path: Path) -> None:
    """Write Hydra's record of this job, ``.hydra/``, into its folder.

    Hydra itself would write it before any check, into a folder that may contain another run; so that is disabled.
    """
    if not HydraConfig.initialized():
        return
    job_folder = OmegaConf.select(HydraConfig.get(), "runtime.output_dir", throw_on_missing=False)  # type: ignore[arg-type]
    if job_folder is None or Path(job_folder).resolve() != path.resolve():
        return  # this run was started from Python
    record = path / ".hydra"
    record.mkdir(exist_ok=True)
    OmegaConf.save(OmegaConf.create({"hydra": HydraConfig.get()}), record / "hydra.yaml")
    OmegaConf.save(HydraConfig.get().overrides.task, record / "overrides.yaml")


def _withdraw(path: Path) -> None:
    """Remove the files of a run that could not start."""
    with suppress(OSError):
        (path / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(path / ".hydra", ignore_errors=True)
        (path / LOCK).unlink(missing_ok=True)
        (path / "checkpoints").rmdir()


def versions() -> dict[str, str]:
    """Return the versions of Python and relevant packages, that of torch with its build ("2.13.0+cu130")."""
    import torch

    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            from cellstate import __version__

            found[package] = __version__ if package == "cellstate" else "unknown"
    return {**found, "torch": str(torch.__version__)}  # the distribution's version lacks the build


def git_state() -> dict[str, Any] | None:
    """Return commit and status of the repository of the working directory, else of cellstate's own checkout.

    None outside of both, such as for an installed wheel used outside of a repository.
    """
    return repository_state(Path.cwd()) or repository_state(Path(__file__).parent, Path(__file__).name)


def repository_state(folder: Path, tracked: str | None = None) -> dict[str, Any] | None:
    """Return commit and status of the repository that contains a folder; None if there is none.

    Args:
        folder: the folder.
        tracked: a file that must be tracked, in case an unrelated repository contains the folder.
    """
    try:
        if tracked is not None:
            git(folder, "ls-files", "--error-unmatch", tracked)
        commit, changes = git(folder, "rev-parse", "HEAD"), git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}


def git(folder: Path, *words: str) -> str:
    """Return the output of a git command."""
    return subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=5, check=True
    ).stdout.strip()


def machine() -> dict[str, Any]:
    """Describe the machine; ``capability`` is the vector instruction set that torch uses."""
    import torch

    facts: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        facts["cuda"] = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return facts


def processor_name() -> str:
    """Return the name of the processor, if available."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def now() -> str:
    """Return the current UTC time in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
