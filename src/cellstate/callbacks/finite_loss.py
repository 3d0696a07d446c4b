"""Stop a run with a NaN or infinite loss before it is saved to a checkpoint."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from cellstate.distributed import gather, total_world
from cellstate.errors import RunError

CHECK_EVERY = 50  # steps; reading a value from an accelerator stalls it


class FiniteLoss(L.Callback):
    """Raises as soon as a training loss is NaN or infinite: on the CPU at that step, else within CHECK_EVERY steps.

    Unchecked losses are also checked before each validation and each checkpoint, so that checkpoints never have
    diverged weights. Several processes check at the same steps and stop together.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Check the loss, or keep it to be checked later."""
        loss = outputs["loss"]
        if loss.device.type == "cpu" and total_world() == 1:
            if not math.isfinite(value := loss.item()):
                self._fail(trainer, value, trainer.global_step)
            return
        self._losses.append(loss)
        if len(self._losses) >= CHECK_EVERY:
            self._check(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Check the remaining losses."""
        self._check(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Check the remaining losses."""
        self._check(trainer)

    def _check(self, trainer: L.Trainer) -> None:
        losses, self._losses = self._losses, []
        values = torch.stack(losses).tolist() if losses else []
        bad = [(number, value) for number, value in enumerate(values, start=1) if not math.isfinite(value)]
        found = [first for ranks in gather(bad[:1]) for first in ranks]
        if found:
            number, value = min(found, key=lambda one: one[0])
            self._fail(trainer, value, trainer.global_step - len(values) + number)

    def _fail(self, trainer: L.Trainer, value: float, step: int) -> None:
        raise RunError(
            f"the training loss became {value} at step {step} (epoch {trainer.current_epoch}); "
            "the checkpoints have the last finite weights; try a smaller optimizer.lr or trainer.gradient_clip_val"
        )

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Check the validation loss; this runs before checkpoints are written."""
        loss = pl_module.results.get("val", {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise RunError(
                f"the validation loss became {loss} after step {trainer.global_step} (epoch {trainer.current_epoch}); "
                "the checkpoints have the last finite weights; try a smaller optimizer.lr"
            )
