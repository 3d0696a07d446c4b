"""Hands a run to its loggers: its config as it begins, a row a validation, what it ends with, and how."""

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
from cellstate.logger.run import Outcome, Rows, RunLogger, TrackedRun, telling
from cellstate.metrics.table import MONITOR, rank
from cellstate.runs.folder import RunFolder
from cellstate.runs.stopping import interruptible
from cellstate.runs.watching import PrunedError

FACTS = ("fingerprint", "versions", "reference")  # of the record that checkpoints keep


class Tracking(L.Callback):
    """Stands between a run and its loggers, none of which a training step hears of.

    Loggers of other packages get the config, the rows, the scores and the end, as Lightning's interface has them.

    Args:
        history: the run's learning curves.
        monitor: the metric that tells which row is best.
    """

    def __init__(self, history: History, monitor: str = MONITOR) -> None:
        self.history, self.monitor = history, monitor
        self.loggers: list[Logger] = []
        self._folder = Path()
        self._handed = 0  # rows of the history that the loggers have
        self._step = 0  # of the checkpoint that the run goes on from

    @contextmanager
    def recording(
        self, trainer: L.Trainer, claimed: RunFolder, record: dict[str, Any], *, resumed: bool
    ) -> Iterator[None]:
        """Begin, and say how the work inside ended if it did not end well; ``conclude`` says that it did.

        The run's id joins the ``record`` that its checkpoints keep. Of several processes the first one tracks.
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
        except KeyboardInterrupt:
            self._close("interrupted")
            raise
        except PrunedError:
            self._close("pruned")
            raise
        except BaseException:
            self._close("failed")
            raise

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Take note of the step that the run goes on from."""
        self._step = checkpoint["global_step"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Have a run that goes on drop what was tracked after its checkpoint."""
        self._handed = len(self.history.rows)
        for logger in self.loggers:
            if self._resumed and isinstance(logger, RunLogger):
                logger.go_on(self._step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Hand over the row of this validation."""
        self._hand_over()

    def conclude(self, metrics: Mapping[str, Any], tables: Callable[[], Mapping[str, Rows]]) -> None:
        """Hand over what a completed run ends with; whatever goes wrong there is told, and loses nothing.

        Args:
            metrics: the content of ``metrics.json``.
            tables: gives name -> rows; called only if somebody wants them.
        """
        if not self.loggers:
            return
        self._hand_over()
        names = ("report.html", "metrics.json", "metrics.csv", "config.yaml", "manifest.json")
        outcome = Outcome(
            metrics,
            self._best(),
            figures=sorted((self._folder / "figures").glob("*.png")),
            files=[self._folder / name for name in names if (self._folder / name).is_file()],
            checkpoint=self._folder / "checkpoints" / "best.ckpt",
        )
        with telling("its tables"):
            outcome = replace(outcome, tables=tables())
        for logger in self.loggers:
            with telling(type(logger).__name__):
                if isinstance(logger, RunLogger):
                    logger.conclude(outcome)
                else:
                    logger.log_metrics(outcome.test_scores, step=int(outcome.best.get("step", 0)))
        self._close("completed")

    def tell(self) -> None:
        """Print where to look at what was tracked, a line each."""
        for logger in self.loggers:
            if isinstance(logger, RunLogger):
                print(logger.place)

    def _begin(self, run: TrackedRun) -> None:
        for logger in self.loggers:
            if isinstance(logger, RunLogger):
                with interruptible(f"interrupted before training began, waiting for {type(logger).__name__}"):
                    logger.begin(run)
            else:
                logger.log_hyperparams(dict(run.config))

    def _hand_over(self) -> None:
        new, self._handed = self.history.rows[self._handed :], len(self.history.rows)
        for row in new:
            for logger in self.loggers:
                with telling(type(logger).__name__):
                    if isinstance(logger, RunLogger):
                        logger.log_row(row, self._best())
                    else:
                        logger.log_metrics(dict(row), step=int(row["step"]))

    def _best(self) -> Mapping[str, float]:
        """Return the first of the rows with the best value of the monitor, which is the one whose weights are kept."""
        rows = [row for row in self.history.rows if self.monitor in row]
        return min(rows, key=lambda row: rank(self.monitor, row[self.monitor]), default={})

    def _close(self, status: str) -> None:
        for logger in self.loggers:
            with telling(type(logger).__name__):
                if isinstance(logger, RunLogger):
                    logger.close(status)
                else:
                    logger.finalize("success" if status == "completed" else "failed")


def sweep_name() -> str | None:
    """Return the name of the sweep that this process runs a job of, None where it runs none."""
    return Path(HydraConfig.get().sweep.dir).name if in_sweep() else None
