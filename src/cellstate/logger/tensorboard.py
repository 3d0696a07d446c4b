"""TensorBoard: curves, figures, tables and texts as event files in the run folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger as LightningTensorBoardLogger

from cellstate.logger.run import Outcome, Rows, RunLogger, TrackedRun, columns, flat, require


class TensorBoardLogger(RunLogger, LightningTensorBoardLogger):
    """Writes event files into ``tensorboard/`` of the run's folder.

    Raises:
        RequestError: tensorboard is not installed.
    """

    def __init__(self) -> None:
        require("tensorboard", "tensorboard", "'cellstate[tensorboard]', or pip install tensorboard")

    def begin(self, run: TrackedRun) -> None:
        """Open an event file and write the config."""
        self._folder = run.folder
        super(RunLogger, self).__init__(run.folder, name="tensorboard", version="", default_hp_metric=False)
        self.hparams = {**flat(run.config), **{f"cellstate.{name}": tag for name, tag in run.tags.items()}}
        config = json.dumps({"config": run.config, **run.facts}, indent=2, default=str)
        self.experiment.add_text("config", "\n".join(f"    {line}" for line in config.splitlines()))
        self.save()

    def resume_at(self, step: int) -> None:
        """Open a new event file that makes TensorBoard drop earlier events after a step."""
        self.experiment.close()
        self._kwargs["purge_step"] = step + 1
        self._experiment = None

    def log_outcome(self, outcome: Outcome) -> None:
        """Log scores, tables and figures of the best weights, and config with scores for the HPARAMS tab."""
        from matplotlib.image import imread

        step = outcome.metrics["steps"]
        self.log_metrics(outcome.test_scores, step=step)
        parameters = {name: _plain(value) for name, value in self.hparams.items()}
        scores = {f"best/{name}": value for name, value in outcome.scores.items()}
        self.experiment.add_hparams(parameters, scores, run_name=".", global_step=step)
        for name, rows in outcome.tables.items():
            self.experiment.add_text(f"table/{name}", markdown(rows), step)
        for file in outcome.figures:
            image = (np.asarray(imread(file))[..., :3] * 255).round().astype(np.uint8)
            self.experiment.add_image(f"figure/{file.stem}", image, step, dataformats="HWC")

    def close(self, status: str) -> None:  # noqa: ARG002
        """Save and close the event file."""
        if getattr(self, "_experiment", None) is not None:
            self.save()
            self.experiment.close()

    @property
    def place(self) -> str:
        """How to view this run and its siblings."""
        return f"TensorBoard:  tensorboard --logdir {Path(self._folder).parent}"


def _plain(value: object) -> str | float | bool:
    """Return a value of a type that the HPARAMS tab supports."""
    return value if isinstance(value, (str, int, float, bool)) else json.dumps(value, default=str)


def markdown(rows: Rows) -> str:
    """Return rows as a Markdown table, which TensorBoard renders."""
    names = columns(rows)
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    cells = [[str(row.get(name, "")).replace("|", "\\|").replace("\n", "<br>") for name in names] for row in rows]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells)])
