"""Stops a run whose loss is no number any more, before it can spoil a checkpoint."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from cellstate.distributed import gather, total_world
from cellstate.errors import RunError

CHECK_EVERY = 50  # steps; reading a value back from an accelerator stalls it, so that is done now and then


class FiniteLoss(L.Callback):
    """Raises as soon as a training loss is NaN or infinite: on the CPU at that step, else within CHECK_EVERY steps.

    Losses that were not looked at yet are checked before each validation and each writing of a checkpoint, so that none
    holds bad weights. Where several processes train, they look at the same steps, and all of them stop.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Look at the loss, or keep it to be looked at."""
        loss = outputs["loss"]
        if loss.device.type == "cpu" and total_world() == 1:
            if not math.isfinite(value := loss.item()):
                self._refuse(trainer, value, trainer.global_step)
            return
        self._losses.append(loss)
        if len(self._losses) >= CHECK_EVERY:
            self._check(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Check what is left."""
        self._check(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Check what is left before it could be kept."""
        self._check(trainer)

    def _check(self, trainer: L.Trainer) -> None:
        losses, self._losses = self._losses, []
        values = torch.stack(losses).tolist() if losses else []
        bad = [(number, value) for number, value in enumerate(values, start=1) if not math.isfinite(value)]
        found = [first for ranks in gather(bad[:1]) for first in ranks]
        if found:
            number, value = min(found, key=lambda one: one[0])
            self._refuse(trainer, value, trainer.global_step - len(values) + number)

    def _refuse(self, trainer: L.Trainer, value: float, step: int) -> None:
        raise RunError(
            f"the training loss became {value} at step {step} (epoch {trainer.current_epoch}); "
            "the checkpoints hold the last good weights; try a smaller optimizer.lr or trainer.gradient_clip_val"
        )

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Refuse a validation loss that is no number; this runs before the checkpoints are written."""
        loss = pl_module.results.get("val", {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise RunError(
                f"the validation loss became {loss} after step {trainer.global_step} (epoch {trainer.current_epoch}); "
                "the checkpoints hold the last good weights; try a smaller optimizer.lr"
            )
