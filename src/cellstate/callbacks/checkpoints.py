"""Keeps two checkpoints: the best by the validation loss, and the last."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from cellstate.callbacks.position import newest_epoch
from cellstate.checkpoint import FORMAT, KEY


class Checkpoints(Checkpoint):
    """Writes ``best.ckpt`` whenever the monitored metric improves, and ``last.ckpt`` after every validation.

    An interruption writes ``last.ckpt`` once more. A run that diverges does not: the last good one stays.

    Args:
        folder: where they go.
        record: what cellstate keeps in each of them, beside Lightning's own state.
        monitor: the metric; without validation data the training loss of the epoch counts.
    """

    def __init__(self, folder: Path, record: dict[str, Any], monitor: str = "val/loss") -> None:
        self.folder, self.record, self.monitor = folder, record, monitor
        self.best: dict[str, Any] = {"epoch": None, "step": None, "monitor": monitor, "value": math.inf}
        self.scored_step = -1  # at which the model's results were computed

    @property
    def best_path(self) -> Path:
        """The best checkpoint."""
        return self.folder / "best.ckpt"

    @property
    def last_path(self) -> Path:
        """The newest checkpoint."""
        return self.folder / "last.ckpt"

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Keep what the validation has just judged."""
        if trainer.state.fn == "fit":
            self.keep(trainer)

    def keep(self, trainer: L.Trainer) -> None:
        """Write ``last.ckpt``, and ``best.ckpt`` if the newest validation is the best so far."""
        self.scored_step = trainer.global_step
        split, _, metric = self.monitor.partition("/")
        value: float = trainer.lightning_module.results[split][metric]  # type: ignore[index, union-attr, assignment]
        if value < self.best["value"]:
            self.best = {
                "epoch": newest_epoch(trainer),
                "step": trainer.global_step,
                "monitor": self.monitor,
                "value": value,
            }
            trainer.save_checkpoint(self.best_path)
        trainer.save_checkpoint(self.last_path)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Keep what an interrupted training has reached."""
        if isinstance(exception, KeyboardInterrupt) and trainer.state.fn == "fit":
            trainer.save_checkpoint(self.last_path)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add what it takes to rebuild the experiment, and to check its numbers where these weights were scored."""
        checkpoint[KEY] = {
            "format": FORMAT,
            **self.record,
            "epoch": newest_epoch(trainer),
            "step": trainer.global_step,
            "metrics": dict(pl_module.results) if trainer.global_step == self.scored_step else {},
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best so far."""
        self.best = state_dict["best"]
