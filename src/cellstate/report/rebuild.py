"""Rebuild the report page of a run, a sweep, a comparison or a benchmark from its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellstate.config import options
from cellstate.errors import RequestError
from cellstate.report.sweep.reading import read_rows
from cellstate.runs.folder import read_manifest


@options.documented
def write_report(
    folder: options.Reported,
    *,
    data: options.Changes = None,
    metric: options.RankedBy = None,
    trust: options.Trust = (),
) -> Path:
    """Write ``report.html`` and ``figures/`` of a run, a sweep, a comparison or a benchmark into its folder.

    A run's page is built from ``metrics.json``, ``metrics.csv``, the best checkpoint and its data.

    Returns:
        The page.

    Raises:
        RequestError: the folder contains neither a completed run nor a sweep, or the data has changed.
        RunError: the page cannot be written.
    """
    place = Path(folder).expanduser()
    if (place / "comparison.json").is_file():
        from cellstate.report.comparison import write as write_comparison

        if data or metric is not None:
            raise RequestError("data.path, metric: not available for a comparison; omit them")
        return write_comparison(place)
    if (place / "benchmark.json").is_file():
        from cellstate.report.benchmark import write as write_benchmark

        if data or metric is not None:
            raise RequestError("data.path, metric: not available for a benchmark; omit them")
        return write_benchmark(place)
    if (place / "sweep.json").is_file():
        from cellstate.report.sweep import write

        if data:
            raise RequestError("data.path: only available for a run; omit it for a sweep")
        return write(place, metric=metric)
    if not (place / "manifest.json").is_file():
        what = "no such folder" if not place.exists() else "neither a run (manifest.json) nor a sweep (sweep.json)"
        raise RequestError(f"{folder}: {what}; give a folder created by cellstate train, such as outputs/sweeps/NAME")
    if metric is not None:
        raise RequestError(f"metric={metric}: only available for a sweep; omit it for a run")
    return write_run(place, data or {}, trust)


def write_run(folder: Path, changes: Mapping[str, Any], trust: options.Trust) -> Path:
    """Write the page of a run again. The test split is scored only if the run scored it."""
    status = read_manifest(folder).get("status")
    if status != "completed":
        raise RequestError(
            f"{folder}: the run is not completed (status: {status}), so there is no result to report; "
            f"resume it with: cellstate train run={folder}"
        )
    metrics, history = read_metrics(folder), read_history(folder)

    from cellstate import report
    from cellstate.runs.isolation import isolated
    from cellstate.runs.quiet import quiet_libraries
    from cellstate.scoring.evaluate import evaluation_trainer
    from cellstate.scoring.session import open_checkpoint

    stored = open_checkpoint(folder, trust=trust)
    record = stored.record
    with quiet_libraries(), isolated(record["config"]["seed"]):
        datamodule = stored.read_data(**changes)
        if datamodule.fingerprint != record["fingerprint"]:
            raise RequestError(
                f"{folder}: the data differs from the data it was trained on; give the original file with "
                "data.path=FILE"
            )
        if not metrics["test"]:
            datamodule.lock_test()
        model = stored.model()
        trainer = evaluation_trainer(stored, devices=1)
        if metrics["test"]:
            trainer.test(model, datamodule=datamodule, verbose=False)
        else:
            trainer.validate(model, datamodule=datamodule, verbose=False)
        return report.write(folder, metrics, history, datamodule, model)


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the content of a run's ``metrics.json``.

    Raises:
        RequestError: it is missing, or was modified.
    """
    file = folder / "metrics.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{file}: cannot be read as JSON ({error}); it was modified or removed") from error
    lacking = {"val", "test", "reference", "best", "seconds", "epochs", "steps", "parameters"} - set(content)
    if lacking:
        raise RequestError(f"{file}: has no {', '.join(sorted(lacking))}; it was modified")
    return content


def read_history(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a run's ``metrics.csv``; empty cells are left out.

    Raises:
        RequestError: it cannot be read.
    """
    file = folder / "metrics.csv"
    try:
        return read_rows(file)
    except (OSError, ValueError, TypeError) as error:
        raise RequestError(f"{file}: cannot be read as the learning curves of a run ({error})") from error
