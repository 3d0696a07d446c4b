"""MLflow: parameters, curves and files in a store of its own, by default a SQLite file that needs no server."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger as LightningMLFlowLogger

from cellstate.errors import RunError
from cellstate.logger.run import Outcome, Rows, RunLogger, TrackedRun, columns, flat, require

SQLITE, VARIABLE = "sqlite:///", "MLFLOW_TRACKING_URI"
# How long a server is asked for an answer, unless the user's own variables say: MLflow would go on for four minutes.
WAITING = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
LONGEST = 6000  # characters of a parameter's value that MLflow keeps
STATUS = {"completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "pruned": "KILLED"}


class MLFlowLogger(RunLogger, LightningMLFlowLogger):
    """Tracks a run with MLflow. The run bears MLflow's own id, and the tag ``cellstate_id`` that of cellstate.

    Args:
        experiment_name: what runs stand together in; None: the name of the run's experiment.
        tracking_uri: a store: ``sqlite:///FILE``, whose files lie in a folder beside it, or the address of a server.
            None: what MLFLOW_TRACKING_URI says, else ``sqlite:///outputs/mlflow.db``.
        tags: what to find the run by, beside cellstate's own tags.
        log_model: whether the best checkpoint is kept as an artifact.

    Raises:
        RequestError: neither the package mlflow nor mlflow-skinny is installed.
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
        """Open the run; one that goes on is found by its id.

        Raises:
            RunError: the store cannot be used.
        """
        name = self._asked_name or str(run.config["experiment"])
        import mlflow.tracking  # noqa: F401 - which sets its own loggers up

        for talkative in ("mlflow", "alembic"):
            logging.getLogger(talkative).setLevel(logging.WARNING)
        before = os.environ.get(VARIABLE)
        try:
            with not_for_long():
                self._open(name, run)
        except Exception as error:
            raise RunError(f"logger=mlflow: {self._refusal(error)}") from error
        finally:  # Lightning's part has MLflow set the variable, which the next run would take for the user's word
            os.environ.update({VARIABLE: before} if before else {})
            if before is None:
                os.environ.pop(VARIABLE, None)
        self._began = True

    def _open(self, name: str, run: TrackedRun) -> None:
        """Find or make the run in the store, and give it its parameters."""
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

    def _refusal(self, error: Exception) -> str:
        """Return why the store cannot be used, and what to do."""
        if (silence := unanswered(error)) is None:
            return f"{self._uri} cannot be used ({' '.join(str(error).split())}); check tracking_uri"
        return (
            f"no answer from {self._uri} ({silence}); start the server, or check logger.mlflow.tracking_uri, or leave "
            f"logger=mlflow out ({' and '.join(WAITING)} say how long to wait)"
        )

    def _artifact_folder(self) -> str | None:
        """Return where the files of a local store go: beside it, where MLflow would take the working folder."""
        if not self._uri.startswith(SQLITE):
            return None
        store = Path(self._uri.removeprefix(SQLITE))
        store.parent.mkdir(parents=True, exist_ok=True)
        return (store.parent / f"{store.stem}_files").as_uri()

    def _find(self, experiment: str, wanted: str) -> str | None:
        """Return MLflow's id of the run that bears cellstate's, None where it has none."""
        there = self._mlflow_client.get_experiment_by_name(experiment)
        if there is None:
            return None
        found = self._mlflow_client.search_runs([there.experiment_id], f"tags.cellstate_id = '{wanted}'")
        return found[0].info.run_id if found else None

    def _log_parameters(self, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        known = self.experiment.get_run(self.run_id).data.params  # MLflow refuses to change one
        listed = [Param(name, str(value)[:LONGEST]) for name, value in parameters.items() if name not in known]
        for at in range(0, len(listed), 100):  # which is as many as it takes at once
            self.experiment.log_batch(self.run_id, params=listed[at : at + 100])

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log one row; a server that was lost meanwhile is not waited for any longer than at the beginning."""
        with not_for_long():
            super().log_metrics(metrics, step)

    def conclude(self, outcome: Outcome) -> None:
        """Log scores, tables, figures and files of the run, and the best checkpoint."""
        self.log_metrics({f"best/{name}": value for name, value in outcome.scores.items()}, outcome.metrics["steps"])
        for name, rows in outcome.tables.items():
            self.experiment.log_text(self.run_id, as_csv(rows), f"tables/{name}.csv")
        for file in outcome.figures:
            self.experiment.log_artifact(self.run_id, str(file), "figures")
        for file in outcome.files:
            self.experiment.log_artifact(self.run_id, str(file))
        if self._keeps_model and outcome.checkpoint is not None:
            self.experiment.log_artifact(self.run_id, str(outcome.checkpoint), "checkpoints")

    def close(self, status: str) -> None:
        """Say how the run ended."""
        if self._began:
            with not_for_long():
                self.experiment.set_terminated(self.run_id, STATUS[status])

    @property
    def place(self) -> str:
        """How to look at all runs of the store."""
        if self._uri.startswith("http"):
            return f"MLflow:   {self._uri}"
        return f"MLflow:   mlflow ui --backend-store-uri {self._uri.replace(os.getcwd() + os.sep, '')}"  # noqa: PTH109


@contextmanager
def not_for_long() -> Iterator[None]:
    """Have what MLflow asks of a server inside wait for seconds; it reads the variables at each request.

    Each attempt that fails is a warning of urllib3's, where some library has set logging up: our one line is enough.
    """
    lacking = {name: value for name, value in WAITING.items() if name not in os.environ}
    attempts = logging.getLogger("urllib3.connectionpool")
    level = attempts.level
    attempts.setLevel(logging.ERROR)
    os.environ.update(lacking)
    try:
        yield
    finally:
        attempts.setLevel(level)
        for name in lacking:
            os.environ.pop(name, None)


def unanswered(error: BaseException) -> str | None:
    """Return how a server failed to answer, in a few words; None where the error is another one."""
    import requests

    found: BaseException | None = error
    while found is not None and not isinstance(found, requests.ConnectionError | requests.Timeout):
        found = found.__cause__ or found.__context__
    if found is None:
        return None
    told = getattr(found.args[0], "reason", found.args[0]) if found.args else found
    return re.sub(r"^\[Errno -?\d+\] ", "", " ".join(str(told).rpartition(": ")[2].split()))


def absolute(uri: str) -> str:
    """Return the address of a store so that it holds from any working folder; MLflow keeps stores by their address."""
    if not uri.startswith(SQLITE):
        return uri
    return SQLITE + str(Path(uri.removeprefix(SQLITE)).expanduser().resolve())


def as_csv(rows: Rows) -> str:
    """Return rows as the text of a CSV file."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns(rows))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
