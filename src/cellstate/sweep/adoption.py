"""Recover jobs that are missing from ``sweep.json``, or that were moved, from their run folders.

A lost or unreadable ``sweep.json`` is rebuilt from these folders. A job is identified by the hash of its config,
whatever the name of its folder.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from cellstate.errors import RequestError
from cellstate.runs.folder import read_manifest
from cellstate.runs.yaml_file import read_yaml
from cellstate.sweep import results
from cellstate.sweep.identity import Job, group_key, job_key, overrides_of, repetition, trained


@dataclass
class Found:
    """A run folder that is not listed in ``sweep.json``.

    Attributes:
        job: the job of its run.
        manifest: of that run.
        written: time of writing of its config in nanoseconds, to order runs that started within one second.
    """

    job: Job
    manifest: Mapping[str, Any]
    written: int

    @property
    def complete(self) -> bool:
        """Whether the run is completed."""
        return self.manifest.get("status") == "completed"

    @property
    def started(self) -> tuple[str, int, str]:
        """Sort key: the start of the run."""
        return str(self.manifest.get("started")), self.written, self.job.folder


def adopt(sweep: Path, content: dict[str, Any]) -> None:
    """Add to the content of ``sweep.json`` the unlisted jobs in the sweep's folder, in the order of their start.

    A listed job whose folder was renamed gets the new name. If a job has two folders, a complete one takes precedence.
    """
    rows = {row["key"]: row for row in content["jobs"]}
    found = sorted(unlisted(sweep, {row["folder"] for row in content["jobs"]}), key=lambda one: one.started)
    for one in found:
        row = rows.get(one.job.key)
        if row is None:
            row = {**results.new_row(one.job.row()), "status": one.manifest.get("status"), "adopted": True}
            rows[one.job.key] = row
            content["jobs"].append(row)
            content["created"] = min(content["created"], str(one.manifest.get("started") or content["created"]))
            if (command := command_of(one.manifest)) and command not in content["commands"]:
                content["commands"].append(command)
        elif not _holds_run(sweep / row["folder"]) or (one.complete and row["status"] not in ("completed", "running")):
            row.update(folder=one.job.folder, status=one.manifest.get("status"), changed=None, failure=None)


def unlisted(sweep: Path, listed: Collection[str]) -> Iterator[Found]:
    """Yield the run folders of a sweep that are not listed, except for incomplete ones."""
    for folder in sweep.iterdir():
        if folder.name in listed or folder.name.startswith(".") or not _holds_run(folder):
            continue
        if (found := read_job(folder)) is not None:
            yield found


def read_job(folder: Path) -> Found | None:
    """Return the job of a run folder; None if it cannot be read."""
    try:
        manifest = read_manifest(folder)
        values = read_yaml(folder / "config.yaml")
        written = (folder / "config.yaml").stat().st_mtime_ns
    except (OSError, RequestError):
        return None
    if not isinstance(values, dict) or "experiment" not in values:
        return None
    config = OmegaConf.create(values)
    key, repeat = job_key(config), repetition(config)
    words, overrides = words_of(folder, config)
    if "space" in (values.get("sweep") or {}):  # a trial of a search is not a repetition of another one
        return Found(Job(folder.name, key, key, words, overrides, {}), manifest, written)
    return Found(Job(folder.name, key, group_key(unseeded(config)), words, overrides, repeat), manifest, written)


def trains(folder: Path) -> dict[str, Any] | None:
    """Return the part of a run's config that affects training; None if it cannot be read."""
    try:
        values = read_yaml(folder / "config.yaml")
    except (OSError, RequestError):
        return None
    return trained(OmegaConf.create(values)) if isinstance(values, dict) else None


def unseeded(config: DictConfig) -> DictConfig:
    """Return a run's config with seed 0 in all sections whose seed equals that of the run, as usual for the data.

    If another key depends on the seed as well, the group is corrected when a command lists the job.
    """
    found = copy.deepcopy(config)
    for section in found.values():
        if OmegaConf.is_dict(section) and section.get("seed") == config.seed:
            section.seed = 0
    return found


def words_of(folder: Path, config: DictConfig) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the overrides of a run, as on a command line and as key -> value.

    They come from Hydra's record. If that is lost, experiment and repetition are taken from the config.
    """
    try:
        words = read_yaml(folder / ".hydra" / "overrides.yaml", resolved=False)
        own = tuple(str(word) for word in words if not str(word).startswith("sweep."))
        return own, overrides_of(own)
    except (OSError, RequestError, HydraException, TypeError):
        known = {"experiment": config.experiment, **repetition(config)}
        return tuple(f"{key}={value}" for key, value in known.items()), known


def command_of(manifest: Mapping[str, Any]) -> list[str] | None:
    """Return the command that started a run, in the format of ``sweep.json``."""
    words = manifest.get("command")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return [" ".join(words[:2]), *words[2:]] if words[:1] == ["cellstate"] else words


def _holds_run(folder: Path) -> bool:
    return (folder / "manifest.json").is_file()
