"""The state of a run folder of a benchmark: new, complete, to be resumed, or of another config or data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from omegaconf import OmegaConf

from cellstate.benchmarking import attempts
from cellstate.benchmarking.plan import Job
from cellstate.errors import RequestError
from cellstate.runs.folder import LOCK
from cellstate.runs.json_file import read_json
from cellstate.runs.lock import is_held
from cellstate.runs.yaml_file import read_yaml
from cellstate.sweep.identity import job_key
from cellstate.sweep.job import set_aside
from cellstate.training.resume import is_run_of

REPLACED = ".replaced"  # folder of the runs that were trained again

State = Literal["new", "unfinished", "running", "complete", "changed"]


def state_of(job: Job) -> State:
    """Return the state of a job's run folder; ``changed`` if another config or other data was trained on."""
    if not (job.folder / "manifest.json").exists():
        return "new"
    if is_held(job.folder / LOCK):
        return "running"
    if not attempts.same_files(job.folder, job.files):
        return "changed"
    if manifest_of(job).get("status") == "completed":
        same = key_of(job) == job.key and read_json(job.folder / "metrics.json")
        return "complete" if same else "changed"
    return "unfinished" if is_run_of(job.folder, dict(job.trains)) else "changed"


def make_room(job: Job) -> None:
    """Move a run of another config or other data away, so that the job can be trained in its folder."""
    if state_of(job) == "changed":
        set_aside(job.folder, REPLACED)


def manifest_of(job: Job) -> Mapping[str, Any]:
    """Return the manifest of a job's run; empty if it was not started."""
    return read_json(job.folder / "manifest.json")


def key_of(job: Job) -> str | None:
    """Return the hash of the config of a job's run; None if it cannot be read."""
    try:
        values = read_yaml(job.folder / "config.yaml")
    except (OSError, RequestError):
        return None
    return job_key(OmegaConf.create(values)) if isinstance(values, dict) else None
