"""Writes ``metrics.csv``: a row an epoch, on the disk as soon as the epoch ends."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import lightning as L


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

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Add the epoch."""
        row: dict[str, float] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(time.monotonic() - self._began, 3),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        for split, results in (("train", pl_module.train_results()), ("val", pl_module.results.get("val", {}))):
            row.update({f"{split}/{name}": value for name, value in results.items()})
        self.rows.append(row)
        if trainer.is_global_zero:
            with self.path.open("a", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(self.rows[0]))
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
