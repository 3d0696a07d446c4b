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

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Start the clock."""
        self._began = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Add a row."""
        if trainer.state.fn == "fit":
            self.add(trainer, pl_module)

    def add(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Add a row of the newest results."""
        row: dict[str, float] = {
            "epoch": newest_epoch(trainer),
            "step": trainer.global_step,
            "seconds": round(time.monotonic() - self._began, 3),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        for split in ("train", "val"):
            row.update({f"{split}/{name}": value for name, value in pl_module.results.get(split, {}).items()})
        self.rows.append(row)
        if trainer.is_global_zero:
            self._append(row)

    def _append(self, row: dict[str, float]) -> None:
        try:
            with self.path.open("a", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(self.rows[0]))
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise not_written(self.path, error) from error
