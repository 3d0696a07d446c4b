"""Writes ``metrics.csv``: a row a validation (so, by default, an epoch), on the disk as soon as it is over."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import lightning as L

from cellstate.callbacks.position import newest_epoch
from cellstate.errors import not_written


class History(L.Callback):
    """Keeps the learning curves.

    Columns: epoch, step, seconds since the fit began, lr, then ``train/NAME`` and ``val/NAME`` for each metric.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._began = 0.0
        self._before = 0.0  # seconds of the training that this one goes on with

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Give the file of a run that goes on the rows that its checkpoint knows."""
        if trainer.is_global_zero and (self.rows or self.path.exists()):
            self._rewrite()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Start the clock."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        return self._before + (time.monotonic() - self._began if self._began else 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far, and the seconds."""
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows that a run had when it was saved: any after them are made again."""
        self.rows, self._before = list(state_dict["rows"]), state_dict["seconds"]

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Add a row."""
        if trainer.state.fn == "fit":
            self.add(trainer, pl_module)

    def add(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Add a row of the newest results."""
        row: dict[str, float] = {
            "epoch": newest_epoch(trainer),
            "step": trainer.global_step,
            "seconds": round(self.seconds, 3),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        for split in ("train", "val"):
            row.update({f"{split}/{name}": value for name, value in pl_module.results.get(split, {}).items()})
        self.rows.append(row)
        if trainer.is_global_zero:
            self._write(self.path, "a", [row])

    def _rewrite(self) -> None:
        """Replace the file as a whole by the rows so far."""
        draft = self.path.with_suffix(".tmp")
        self._write(draft, "w", self.rows)
        draft.replace(self.path)

    def _write(self, path: Path, mode: str, rows: list[dict[str, float]]) -> None:
        try:
            with path.open(mode, newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(self.rows[0]) if self.rows else [])
                if file.tell() == 0 and self.rows:
                    writer.writeheader()
                writer.writerows(rows)
        except OSError as error:
            raise not_written(self.path, error) from error
