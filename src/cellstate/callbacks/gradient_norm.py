"""Log gradient norms at intervals."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from cellstate.config.types import PositiveInt


class GradientNorm(L.Callback):
    """Logs the 2-norm of the gradient before clipping, of the complete model and of each part.

    The norms stay on the device until the next validation, so that training steps do not wait.

    Args:
        every_n_steps: optimiser steps between two samples, starting with the first step.
    """

    def __init__(self, every_n_steps: PositiveInt = 100) -> None:
        self.every_n_steps = every_n_steps
        self._sampled: list[tuple[int, dict[str, Tensor]]] = []

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer  # noqa: ARG002
    ) -> None:  # fmt: skip
        """Take a sample if it is due."""
        if trainer.global_step % self.every_n_steps == 0 and trainer.is_global_zero:
            self._sampled.append((trainer.global_step + 1, norms(pl_module)))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Log the samples."""
        sampled, self._sampled = self._sampled, []
        for step, found in sampled:
            values = {name: value.item() for name, value in found.items()}
            for logger in trainer.loggers:
                logger.log_metrics(values, step=step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the samples after the last validation."""
        self.on_validation_start(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the samples that are not logged yet."""
        values = [(step, {name: value.item() for name, value in found.items()}) for step, found in self._sampled]
        return {"sampled": values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the samples of a resumed run."""
        self._sampled = [
            (step, {name: torch.tensor(value) for name, value in found.items()})
            for step, found in state_dict["sampled"]
        ]


def norms(model: L.LightningModule) -> dict[str, Tensor]:
    """Return ``gradient_norm`` and ``gradient_norm/PART`` for each trained part of the model, each ``()``."""
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            parts.setdefault(name.partition(".")[0], []).append(parameter.grad.detach())
    found = {f"gradient_norm/{part}": torch.nn.utils.get_total_norm(grads) for part, grads in parts.items()}
    if not found:
        return {}
    return {"gradient_norm": torch.stack(list(found.values())).norm(), **found}
