"""Jobs that the list of a sweep lacks, or has elsewhere: what their run folders say of them.

A list that was lost, or cannot be read, is written anew from these folders; a job is known by the hash of its config,
whatever its folder is called.
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
    """A run folder that the list of a sweep does not name.

    Attributes:
        job: what it holds a run of.
        manifest: of that run.
        written: when its config was, in nanoseconds: it tells apart what began within one second.
    """

    job: Job
    manifest: Mapping[str, Any]
    written: int

    @property
    def complete(self) -> bool:
        """Whether the run has come to its end."""
        return self.manifest.get("status") == "completed"

    @property
    def started(self) -> tuple[str, int, str]:
        """When the run began, as far as that is known."""
        return str(self.manifest.get("started")), self.written, self.job.folder


def adopt(sweep: Path, content: dict[str, Any]) -> None:
    """Add to the content of ``sweep.json`` the jobs in the sweep's folder that it lacks, in the order they began in.

    A job that it has, and whose folder was moved, is found where it lies now. Of two folders of one job, that of the
    complete one counts.
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
    """Yield the run folders of a sweep but for those that are listed, and those that hold no whole run."""
    for folder in sweep.iterdir():
        if folder.name in listed or folder.name.startswith(".") or not _holds_run(folder):
            continue
        if (found := read_job(folder)) is not None:
            yield found


def read_job(folder: Path) -> Found | None:
    """Return what a run folder holds a run of; None where that cannot be read."""
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
    if "space" in (values.get("sweep") or {}):  # a trial of a search repeats no other
        return Found(Job(folder.name, key, key, words, overrides, {}), manifest, written)
    return Found(Job(folder.name, key, group_key(unseeded(config)), words, overrides, repeat), manifest, written)


def trains(folder: Path) -> dict[str, Any] | None:
    """Return what of a run's config decides on the training; None where it cannot be read."""
    try:
        values = read_yaml(folder / "config.yaml")
    except (OSError, RequestError):
        return None
    return trained(OmegaConf.create(values)) if isinstance(values, dict) else None


def unseeded(config: DictConfig) -> DictConfig:
    """Return a run's config with seed 0 wherever its own seed stands: that of the data follows it, as a rule.

    Where another key follows it as well, the group is known again when a command names the job.
    """
    found = copy.deepcopy(config)
    for section in found.values():
        if OmegaConf.is_dict(section) and section.get("seed") == config.seed:
            section.seed = 0
    return found


def words_of(folder: Path, config: DictConfig) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the overrides that a run was given, as they stand on a command line and as key -> value.

    They are in the record that Hydra keeps. Where that is lost, experiment and repetition are known from the config.
    """
    try:
        words = read_yaml(folder / ".hydra" / "overrides.yaml", resolved=False)
        own = tuple(str(word) for word in words if not str(word).startswith("sweep."))
        return own, overrides_of(own)
    except (OSError, RequestError, HydraException, TypeError):
        known = {"experiment": config.experiment, **repetition(config)}
        return tuple(f"{key}={value}" for key, value in known.items()), known


def command_of(manifest: Mapping[str, Any]) -> list[str] | None:
    """Return the command that began a run, as the list of a sweep keeps it."""
    words = manifest.get("command")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return [" ".join(words[:2]), *words[2:]] if words[:1] == ["cellstate"] else words


def _holds_run(folder: Path) -> bool:
    return (folder / "manifest.json").is_file()
