"""Write ``metrics.csv``: a row after each validation (by default, each epoch)."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import lightning as L

from cellstate.callbacks.position import newest_epoch
from cellstate.errors import not_written
from cellstate.runs.writing import write_whole


class History(L.Callback):
    """Records the learning curves.

    Columns: epoch, step, seconds of training, lr, then ``train/NAME`` and ``val/NAME`` for each metric.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._began = 0.0
        self._before = 0.0  # seconds before the run was resumed

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Reset the file of a resumed run to the rows of its checkpoint."""
        if trainer.is_global_zero and (self.rows or self.path.exists()):
            self._rewrite()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Start the clock."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, including those before an interruption."""
        return self._before + (time.monotonic() - self._began if self._began else 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return rows and seconds."""
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore rows and seconds of a resumed run."""
        self.rows, self._before = list(state_dict["rows"]), state_dict["seconds"]

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Add a row."""
        if trainer.state.fn == "fit":
            self.add(trainer, pl_module)

    def add(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Add a row with the current results."""
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
        """Replace the file atomically by the current rows."""
        write_whole(self.path, lambda draft: self._write(draft, "w", self.rows))

    def _write(self, path: Path, mode: str, rows: list[dict[str, float]]) -> None:
        try:
            with path.open(mode, newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(self.rows[0]) if self.rows else [])
                if file.tell() == 0 and self.rows:
                    writer.writeheader()
                writer.writerows(rows)
        except OSError as error:
            raise not_written(self.path, error) from error
