"""Pass a run to its loggers: config, a row per validation, results and status."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import Logger

from cellstate.callbacks import History
from cellstate.config.compose import in_sweep
from cellstate.logger.run import Outcome, Rows, RunLogger, TrackedRun, warning_on_error
from cellstate.metrics.table import MONITOR, rank
from cellstate.runs.folder import RunFolder, status_of
from cellstate.runs.stopping import interruptible

FACTS = ("fingerprint", "versions", "reference")  # entries of the record of checkpoints


class Tracking(L.Callback):
    """Connects a run to its loggers, outside of training steps.

    Loggers of other packages receive config, rows, scores and status through Lightning's interface.

    Args:
        history: the learning curves.
        monitor: the metric that selects the best row.
    """

    def __init__(self, history: History, monitor: str = MONITOR) -> None:
        self.history, self.monitor = history, monitor
        self.loggers: list[Logger] = []
        self._folder = Path()
        self._logged = 0  # rows of the history that are logged
        self._step = 0  # of the checkpoint from which the run is resumed

    @contextmanager
    def recording(
        self, trainer: L.Trainer, claimed: RunFolder, record: dict[str, Any], *, resumed: bool
    ) -> Iterator[None]:
        """Open the loggers, and close them if the code inside fails; ``finish`` closes them on success.

        Adds the id of the run to ``record``. Only the first process tracks.
        """
        if not trainer.is_global_zero:
            yield
            return
        self.loggers, self._folder = trainer.loggers, claimed.path
        if not resumed and (sweep := sweep_name()):
            claimed.manifest["sweep"] = sweep
        manifest = claimed.manifest
        record["id"] = manifest["id"]
        facts = {name: record[name] for name in FACTS} | {"git": manifest["git"]}
        run = TrackedRun(manifest["id"], claimed.path, record["config"], facts, manifest.get("sweep"), resumed)
        self._resumed = resumed
        try:
            self._begin(run)
            yield
        except BaseException as error:
            self._close(status_of(error))
            raise

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Record the step from which the run is resumed."""
        self._step = checkpoint["global_step"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Drop what a resumed run logged after its checkpoint."""
        self._logged = len(self.history.rows)
        for logger in self.loggers:
            if self._resumed and isinstance(logger, RunLogger):
                logger.resume_at(self._step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Log the row of this validation."""
        self._log_rows()

    def finish(self, metrics: Mapping[str, Any], tables: Callable[[], Mapping[str, Rows]]) -> None:
        """Log the results of a completed run; errors become warnings.

        Args:
            metrics: the content of ``metrics.json``.
            tables: returns name -> rows; only called if there are loggers.
        """
        if not self.loggers:
            return
        self._log_rows()
        names = ("report.html", "metrics.json", "metrics.csv", "config.yaml", "manifest.json")
        outcome = Outcome(
            metrics,
            self._best(),
            figures=sorted((self._folder / "figures").glob("*.png")),
            files=[self._folder / name for name in names if (self._folder / name).is_file()],
            checkpoint=self._folder / "checkpoints" / "best.ckpt",
        )
        with warning_on_error("its tables"):
            outcome = replace(outcome, tables=tables())
        for logger in self.loggers:
            with warning_on_error(type(logger).__name__):
                if isinstance(logger, RunLogger):
                    logger.log_outcome(outcome)
                else:
                    logger.log_metrics(outcome.test_scores, step=int(outcome.best.get("step", 0)))
        self._close("completed")

    def print_places(self) -> None:
        """Print where to view the run, a line for each logger."""
        for logger in self.loggers:
            if isinstance(logger, RunLogger):
                print(logger.place)

    def _begin(self, run: TrackedRun) -> None:
        for logger in self.loggers:
            if isinstance(logger, RunLogger):
                with interruptible(f"interrupted before training started, waiting for {type(logger).__name__}"):
                    logger.begin(run)
            else:
                logger.log_hyperparams(dict(run.config))

    def _log_rows(self) -> None:
        new, self._logged = self.history.rows[self._logged :], len(self.history.rows)
        for row in new:
            for logger in self.loggers:
                with warning_on_error(type(logger).__name__):
                    if isinstance(logger, RunLogger):
                        logger.log_row(row, self._best())
                    else:
                        logger.log_metrics(dict(row), step=int(row["step"]))

    def _best(self) -> Mapping[str, float]:
        """Return the first row with the best value of the monitor, that of the best checkpoint."""
        rows = [row for row in self.history.rows if self.monitor in row]
        return min(rows, key=lambda row: rank(self.monitor, row[self.monitor]), default={})

    def _close(self, status: str) -> None:
        for logger in self.loggers:
            with warning_on_error(type(logger).__name__):
                if isinstance(logger, RunLogger):
                    logger.close(status)
                else:
                    logger.finalize("success" if status == "completed" else "failed")


def sweep_name() -> str | None:
    """Return the name of the sweep of this job; None outside of a sweep."""
    return Path(HydraConfig.get().sweep.dir).name if in_sweep() else None
