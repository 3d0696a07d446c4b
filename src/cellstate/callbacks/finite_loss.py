"""Stops a run whose loss is no number any more, before it can spoil a checkpoint."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from cellstate.errors import RunError

CHECK_EVERY = 50  # steps; reading a value back from an accelerator stalls it, so that is done now and then


class FiniteLoss(L.Callback):
    """Raises as soon as a training loss is NaN or infinite: on the CPU at that step, else within CHECK_EVERY steps.

    Losses that were not looked at yet are checked before each validation, so that no checkpoint holds bad weights.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Take note of the loss."""
        loss = outputs["loss"]
        self._losses.append(loss)
        if loss.device.type == "cpu" or len(self._losses) >= CHECK_EVERY:
            self._check(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Check what is left."""
        self._check(trainer)

    def _check(self, trainer: L.Trainer) -> None:
        if not self._losses:
            return
        losses, self._losses = self._losses, []
        if len(losses) == 1 and torch.isfinite(losses[0]):
            return
        bad = (~torch.isfinite(torch.stack(losses))).nonzero()
        if len(bad) == 0:
            return
        first = int(bad[0])
        step = trainer.global_step - len(losses) + first + 1
        raise RunError(
            f"the training loss became {float(losses[first])} at step {step} (epoch {trainer.current_epoch}); "
            "the checkpoints hold the last good weights; try a smaller optimizer.lr or trainer.gradient_clip_val"
        )

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Refuse a validation loss that is no number; this runs before the checkpoints are written."""
        loss = pl_module.results.get("val", {}).get("loss")
        if loss is not None and not loss - loss == 0:
            raise RunError(
                f"the validation loss became {loss} after step {trainer.global_step} (epoch {trainer.current_epoch}); "
                "the checkpoints hold the last good weights; try a smaller optimizer.lr"
            )
