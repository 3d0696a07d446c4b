"""Weights & Biases: offline without a key, never prompting, with short timeouts."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger

from cellstate.config.types import PositiveFloat
from cellstate.errors import RunError, warn
from cellstate.logger.credentials import Mode, chosen_mode, host
from cellstate.logger.ending import START, is_ended
from cellstate.logger.run import Outcome, Rows, RunLogger, TrackedRun, columns, flat, warning_on_error
from cellstate.logger.uploading import unreachable

if TYPE_CHECKING:
    import wandb

STEP = "trainer/global_step"  # the x axis, as Lightning names it
FLUSH_EVERY = 0.1  # seconds between flushes of the run's file
PATIENCE = 10.0  # timeout of the first flush in seconds


class WandbLogger(RunLogger, LightningWandbLogger):
    """Tracks a run with Weights & Biases, in ``wandb/`` of its folder.

    Args:
        project: the project.
        entity: team or user; None: that of the key.
        name: display name; None: EXPERIMENT-ID.
        group: group of runs; None: the sweep, if the run is a job of one.
        job_type: kind of job within the group.
        tags: tags in addition to the name of the experiment.
        notes: a longer description.
        mode: online, offline or disabled; None: that of WANDB_MODE and ``wandb offline``, else online, or offline
            without a key or an answer of the server.
        log_model: whether to log the best checkpoint as an artifact.
        init_timeout: seconds to wait for the server at the start.
        finish_timeout: seconds to wait for the upload at the end; the rest stays on disk.
    """

    def __init__(
        self,
        project: str = "cellstate",
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        job_type: str = "train",
        tags: Sequence[str] = (),
        notes: str | None = None,
        mode: Mode | None = None,
        log_model: bool = True,
        init_timeout: PositiveFloat = 30.0,
        finish_timeout: PositiveFloat = 120.0,
    ) -> None:
        self._asked: dict[str, Any] = {
            "project": project, "entity": entity, "name": name, "group": group, "job_type": job_type, "notes": notes,
        }  # fmt: skip
        self._asked_mode: Mode | None = mode
        self._tags, self._keeps_model = tags, log_model
        self._timeouts = {"init_timeout": init_timeout, "finish_timeout": finish_timeout}
        self._run: wandb.Run | None = None
        self._next = 0  # minimum step of the next row: W&B drops rows of earlier steps
        self._staging_here = False  # whether this run has set WANDB_DATA_DIR

    # ------------------------------------------------------------------ start and end

    def begin(self, run: TrackedRun) -> None:
        """Open the run with cellstate's id, and wait until its config is on disk.

        Raises:
            RequestError: ``mode=online`` without a key, or a malformed key.
            RunError: ``mode=online`` without an answer of the server, or nothing can be written.
        """
        mode = chosen_mode(self._asked_mode)
        debug = [f"debug={run.debug}"] if run.debug else []
        tags = dict.fromkeys([str(run.config["experiment"]), *debug, *self._tags])
        arguments = {
            **self._asked,
            "name": self._asked["name"] or run.name,
            "group": self._asked["group"] or run.sweep,
            "tags": list(tags),
            "id": run.id,
            "dir": str(run.folder.resolve()),
            "config": {**run.config, "cellstate": {"id": run.id, "folder": str(run.folder), **run.facts}},
            # An id is new unless the run is resumed, or W&B's sweep agent has set it.
            "resume": "allow" if run.resumed or "WANDB_SWEEP_ID" in os.environ else "never",
        }
        # Staging folder of tables and artifacts, needed to upload an offline run later.
        self._staging_here = "WANDB_DATA_DIR" not in os.environ
        os.environ.setdefault("WANDB_DATA_DIR", str(run.folder.resolve() / "wandb"))
        self._folder = run.folder
        self._run = self._open(mode, arguments)
        super(RunLogger, self).__init__(
            project=self._asked["project"], save_dir=arguments["dir"], id=run.id, experiment=self._run
        )
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP, step_sync=True)
        if mode != "disabled":
            require_file(Path(self._run.settings.sync_file))
            with warning_on_error("the data artifact"):
                self._log_data(run)

    def _open(self, mode: Mode, arguments: dict[str, Any]) -> wandb.Run:
        """Open the run; offline if the server does not answer, unless ``mode=online``."""
        import wandb

        insists = self._asked_mode == "online"
        reason = unreachable(host(), self._timeouts["init_timeout"]) if mode == "online" and not insists else None
        if mode != "online" or reason is None:
            try:
                return self._init(mode, arguments)
            except Exception as error:  # W&B also passes on errors of its dependencies
                reason = " ".join(str(error).partition("Consider increasing")[0].split())
                if mode != "online" or insists:
                    raise RunError(f"logger=wandb: {reason}; try logger.wandb.mode=offline") from error
            for attempt in Path(arguments["dir"]).glob(f"wandb/run-*-{arguments['id']}"):
                shutil.rmtree(attempt, ignore_errors=True)
            wandb.teardown()  # otherwise the id would be in use
        warn(f"W&B is unreachable ({reason}); logging offline")
        return self._init("offline", arguments)

    def _init(self, mode: Mode, arguments: dict[str, Any]) -> wandb.Run:
        import wandb

        settings: dict[str, Any] = {
            "silent": True,  # cellstate prints where the run is
            "x_transaction_log_flush_interval": FLUSH_EVERY,
            **self._timeouts,
        }
        wandb.termsetup(wandb.Settings(silent=True), None)  # otherwise it would print that it found a key
        return wandb.init(**arguments, mode=mode, reinit="create_new", settings=wandb.Settings(**settings))

    def close(self, status: str) -> None:
        """Finish the run; exit code 1 marks failed and interrupted runs."""
        run, self._run = self._run, None
        try:
            if run is not None:
                run.finish(exit_code=0 if status in ("completed", "pruned") else 1)
                if run.offline and not run.disabled:
                    wait(lambda: is_ended(Path(run.settings.sync_file)))
        finally:
            if self._staging_here:
                os.environ.pop("WANDB_DATA_DIR", None)

    @property
    def place(self) -> str:
        """The address of the run, or how to upload it."""
        run = self.experiment
        if run.disabled:
            return "W&B:      disabled"
        how = f"offline; upload with: cellstate sync {self._folder}" if run.offline else run.url
        return f"W&B:      {how}"

    # ------------------------------------------------------------------ logging

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log one row, at a step not before that of the previous row."""
        if self._run is None:
            return
        at = self._next if step is None else max(step, self._next)
        self._next = at + 1
        self._run.log({**metrics, STEP: at if step is None else step}, step=at, commit=True)

    def log_row(self, row: Mapping[str, float], best: Mapping[str, float]) -> None:
        """Log a row, and set the summary to the best row."""
        super().log_row(row, best)
        if self._run is not None:
            self._run.summary.update(dict(best))

    def log_outcome(self, outcome: Outcome) -> None:
        """Log scores, tables, figures and the best checkpoint."""
        import wandb

        if self._run is None:
            return
        content: dict[str, Any] = {f"table/{name}": table(rows) for name, rows in outcome.tables.items()}
        if "confusion_matrix" in outcome.tables:
            content["confusion_matrix"] = confusion_chart(outcome.tables["confusion_matrix"])
        content.update({f"figure/{file.stem}": wandb.Image(str(file)) for file in outcome.figures})
        self.log_metrics({**outcome.test_scores, **content}, step=outcome.metrics["steps"])
        metrics = outcome.metrics
        self._run.summary.update(
            {**outcome.best, **outcome.scores, **flat({name: metrics[name] for name in ("best", "seconds")}, join="/"),
             "parameters": metrics["parameters"], "reference": metrics["reference"]}
        )  # fmt: skip
        if self._keeps_model and outcome.checkpoint is not None:
            self._log_checkpoint(outcome, outcome.checkpoint)

    def _log_data(self, run: TrackedRun) -> None:
        """Log a description of the data as an artifact, without the data itself."""
        import wandb

        assert self._run is not None
        fingerprint = str(run.facts["fingerprint"])
        data = {"config": run.config["data"], "fingerprint": fingerprint}
        artifact = wandb.Artifact(f"data-{fingerprint[:12]}", "dataset", metadata={"fingerprint": fingerprint})
        with artifact.new_file("data.json") as file:
            file.write(json.dumps(data, indent=2, sort_keys=True))
        # The public use_artifact needs a server. This is what it does with a new artifact, and uploading an offline run
        # handles it in the same way.
        self._run._log_artifact(artifact, use_after_commit=True)

    def _log_checkpoint(self, outcome: Outcome, checkpoint: Path) -> None:
        """Log the best checkpoint as an artifact."""
        import wandb

        assert self._run is not None
        metrics = outcome.metrics
        described = {"experiment": metrics["experiment"], "best": metrics["best"], **outcome.scores}
        artifact = wandb.Artifact(f"model-{self._run.id}", "model", metadata=described)
        # The file is not copied, and read when the run is uploaded.
        artifact.add_file(str(checkpoint.resolve()), name=checkpoint.name, policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact, aliases=["best"])


def table(rows: Rows) -> wandb.Table:
    """Return rows as a W&B table."""
    import wandb

    names: list[Any] = list(columns(rows))
    return wandb.Table(columns=names, data=[[row.get(name) for name in names] for row in rows])


def confusion_chart(rows: Rows) -> Any:
    """Return W&B's confusion matrix chart from counts."""
    from wandb.plot import plot_table

    return plot_table(
        "wandb/confusion_matrix/v1",
        table(rows),
        {"Actual": "actual", "Predicted": "predicted", "nPredictions": "count"},
        {"title": "Confusion matrix"},
    )


def require_file(file: Path) -> None:
    """Wait until the first records, including the config, are on disk; W&B writes them asynchronously.

    Raises:
        RunError: timeout.
    """
    if not wait(lambda: file.exists() and file.stat().st_size > START):
        raise RunError(f"{file}: W&B does not write; check the disk, or omit logger=wandb")


def wait(condition: Callable[[], bool]) -> bool:
    """Wait for a condition up to PATIENCE seconds; return whether it holds."""
    began = time.monotonic()
    while not (found := condition()) and time.monotonic() - began < PATIENCE:
        time.sleep(0.01)
    return found
