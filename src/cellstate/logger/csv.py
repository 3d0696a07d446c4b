"""CSV files: all logged rows, including gradient norms, and tables."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger as LightningCSVLogger

from cellstate.logger.run import Outcome, RunLogger, TrackedRun, flat
from cellstate.runs.writing import csv_text


class CSVLogger(RunLogger, LightningCSVLogger):
    """Writes ``csv/metrics.csv``, ``csv/hparams.yaml`` and a file for each table into the run's folder.

    The ``metrics.csv`` of the run only has the validations; this one has everything that callbacks log.
    """

    def __init__(self) -> None:
        self._rows: list[dict[str, str]] = []  # of the resumed run

    def begin(self, run: TrackedRun) -> None:
        """Open the files; a resumed run keeps their content."""
        super(RunLogger, self).__init__(run.folder, name="csv", version="")
        file = Path(self.log_dir) / "metrics.csv"
        if run.resumed and file.exists():
            with file.open(newline="") as lines:
                self._rows = list(csv.DictReader(lines))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*exists and is not empty")
            self.log_hyperparams({**flat(run.config), **{f"cellstate.{name}": tag for name, tag in run.tags.items()}})
        self._rewrite()

    def resume_at(self, step: int) -> None:
        """Drop the rows after a step."""
        self._rows = [row for row in self._rows if int(row["step"]) <= step]
        self._rewrite()

    def _rewrite(self) -> None:
        Path(self.experiment.metrics_file_path).unlink(missing_ok=True)
        for row in self._rows:
            known: dict[str, Any] = {name: value for name, value in row.items() if value and name != "step"}
            self.experiment.log_metrics(known, int(row["step"]))
        self.save()

    def log_row(self, row: Mapping[str, float], best: Mapping[str, float]) -> None:
        """Log a row and save it."""
        super().log_row(row, best)
        self.save()

    def log_outcome(self, outcome: Outcome) -> None:
        """Log the scores of the best weights and write the tables."""
        if outcome.test_scores:
            self.log_metrics(dict(outcome.test_scores), step=outcome.metrics["steps"])
        for name, rows in outcome.tables.items():
            (Path(self.log_dir) / f"{name}.csv").write_text(csv_text(rows), encoding="utf-8", newline="")

    def close(self, status: str) -> None:  # noqa: ARG002
        """Save the remaining rows."""
        if getattr(self, "_experiment", None) is not None:
            self.save()

    @property
    def place(self) -> str:
        """The folder of the files."""
        return f"CSV:      {self.log_dir}"
