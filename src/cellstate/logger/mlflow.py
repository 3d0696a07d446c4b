"""MLflow: parameters, curves and files, by default in a SQLite file without a server."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger as LightningMLFlowLogger

from cellstate.errors import RunError
from cellstate.logger.run import Outcome, RunLogger, TrackedRun, flat, require
from cellstate.runs.isolation import restored_variables
from cellstate.runs.quiet import log_level
from cellstate.runs.writing import csv_text

SQLITE, VARIABLE = "sqlite:///", "MLFLOW_TRACKING_URI"
# Timeout and retries, unless set by the user: MLflow's defaults take four minutes.
WAITING = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
LONGEST = 6000  # characters of a parameter's value that MLflow accepts
STATUS = {"completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "pruned": "KILLED"}


class MLFlowLogger(RunLogger, LightningMLFlowLogger):
    """Tracks a run with MLflow, with an id of MLflow, and that of cellstate as the tag ``cellstate_id``.

    Args:
        experiment_name: MLflow's experiment; None: the name of the run's experiment.
        tracking_uri: ``sqlite:///FILE``, with artifacts in a folder next to it, or the address of a server.
            None: MLFLOW_TRACKING_URI, else ``sqlite:///outputs/mlflow.db``.
        tags: tags in addition to those of cellstate.
        log_model: whether to log the best checkpoint as an artifact.

    Raises:
        RequestError: neither mlflow nor mlflow-skinny is installed.
    """

    def __init__(
        self,
        experiment_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, str] | None = None,
        log_model: bool = True,
    ) -> None:
        require("mlflow", "mlflow", "'cellstate[mlflow]', or pip install mlflow")
        self._uri = absolute(tracking_uri or os.environ.get(VARIABLE) or f"{SQLITE}outputs/mlflow.db")
        if self._uri.startswith("sqlite"):
            require("sqlalchemy", "mlflow", "'cellstate[mlflow]', or pip install sqlalchemy alembic")
        self._asked_name = experiment_name
        self._own_tags, self._keeps_model = dict(tags or {}), log_model
        self._began = False

    def begin(self, run: TrackedRun) -> None:
        """Open the run; a resumed run is found by its id.

        Raises:
            RunError: the store is not available.
        """
        name = self._asked_name or str(run.config["experiment"])
        import mlflow.tracking  # noqa: F401 - sets up its loggers

        for name_of_logger in ("mlflow", "alembic"):
            logging.getLogger(name_of_logger).setLevel(logging.WARNING)
        try:
            # Lightning makes MLflow set the variable, which would affect the next run.
            with short_timeouts(), restored_variables(VARIABLE):
                self._open(name, run)
        except Exception as error:
            raise RunError(f"logger=mlflow: {self._reason(error)}") from error
        self._began = True

    def _open(self, name: str, run: TrackedRun) -> None:
        """Find or create the run in the store and log its parameters."""
        super(RunLogger, self).__init__(
            experiment_name=name,
            run_name=run.name,
            tracking_uri=self._uri,
            tags={**run.tags, **self._own_tags},
            artifact_location=self._artifact_folder(),
            run_id=None,
        )
        if run.resumed:
            self._run_id = self._find(name, run.id)
        self.experiment.update_run(self.run_id, status="RUNNING")
        facts = {f"cellstate.{key}": value for key, value in flat(run.facts).items() if "reference" not in key}
        self._log_parameters({**flat(run.config), **facts})

    def _reason(self, error: Exception) -> str:
        """Return why the store is not available, and what to do."""
        if (silence := unanswered(error)) is None:
            return f"{self._uri} is not available ({' '.join(str(error).split())}); check tracking_uri"
        return (
            f"no answer from {self._uri} ({silence}); start the server, check logger.mlflow.tracking_uri, or omit "
            f"logger=mlflow (timeout: {' and '.join(WAITING)})"
        )

    def _artifact_folder(self) -> str | None:
        """Return the artifact folder of a local store, next to it; MLflow's default is the working directory."""
        if not self._uri.startswith(SQLITE):
            return None
        store = Path(self._uri.removeprefix(SQLITE))
        store.parent.mkdir(parents=True, exist_ok=True)
        return (store.parent / f"{store.stem}_files").as_uri()

    def _find(self, experiment: str, wanted: str) -> str | None:
        """Return MLflow's id of a run of cellstate; None if there is none."""
        there = self._mlflow_client.get_experiment_by_name(experiment)
        if there is None:
            return None
        found = self._mlflow_client.search_runs([there.experiment_id], f"tags.cellstate_id = '{wanted}'")
        return found[0].info.run_id if found else None

    def _log_parameters(self, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        known = self.experiment.get_run(self.run_id).data.params  # which MLflow does not allow to change
        listed = [Param(name, str(value)[:LONGEST]) for name, value in parameters.items() if name not in known]
        for at in range(0, len(listed), 100):  # the maximum of one call
            self.experiment.log_batch(self.run_id, params=listed[at : at + 100])

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log one row, with the same timeouts as at the start."""
        with short_timeouts():
            super().log_metrics(metrics, step)

    def log_outcome(self, outcome: Outcome) -> None:
        """Log scores, tables, figures and files of the run, and the best checkpoint."""
        self.log_metrics({f"best/{name}": value for name, value in outcome.scores.items()}, outcome.metrics["steps"])
        for name, rows in outcome.tables.items():
            self.experiment.log_text(self.run_id, csv_text(rows), f"tables/{name}.csv")
        for file in outcome.figures:
            self.experiment.log_artifact(self.run_id, str(file), "figures")
        for file in outcome.files:
            self.experiment.log_artifact(self.run_id, str(file))
        if self._keeps_model and outcome.checkpoint is not None:
            self.experiment.log_artifact(self.run_id, str(outcome.checkpoint), "checkpoints")

    def close(self, status: str) -> None:
        """Set the status of the run."""
        if self._began:
            with short_timeouts():
                self.experiment.set_terminated(self.run_id, STATUS[status])

    @property
    def place(self) -> str:
        """How to view all runs of the store."""
        if self._uri.startswith("http"):
            return f"MLflow:   {self._uri}"
        return f"MLflow:   mlflow ui --backend-store-uri {self._uri.replace(os.getcwd() + os.sep, '')}"  # noqa: PTH109


@contextmanager
def short_timeouts() -> Iterator[None]:
    """Set short timeouts of MLflow's requests, which read these variables.

    Also hides urllib3's warning about each failed attempt.
    """
    with restored_variables(*WAITING), log_level(logging.ERROR, "urllib3.connectionpool"):
        os.environ.update({name: value for name, value in WAITING.items() if name not in os.environ})
        yield


def unanswered(error: BaseException) -> str | None:
    """Return how a server failed to answer; None for other errors."""
    import requests

    found: BaseException | None = error
    while found is not None and not isinstance(found, requests.ConnectionError | requests.Timeout):
        found = found.__cause__ or found.__context__
    if found is None:
        return None
    reason = getattr(found.args[0], "reason", found.args[0]) if found.args else found
    return re.sub(r"^\[Errno -?\d+\] ", "", " ".join(str(reason).rpartition(": ")[2].split()))


def absolute(uri: str) -> str:
    """Return the address of a store with an absolute path, as MLflow identifies stores by their address."""
    if not uri.startswith(SQLITE):
        return uri
    return SQLITE + str(Path(uri.removeprefix(SQLITE)).expanduser().resolve())
