"""Samples the norm of the gradient now and then, for the loggers."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from cellstate.config.types import PositiveInt


class GradientNorm(L.Callback):
    """Logs the 2-norm of the gradient before it is clipped, of the whole model and of each of its parts.

    The norms stay on the device, unread, until the next validation: a training step waits for nothing.

    Args:
        every_n_steps: optimiser steps between two samples, the first step being one.
    """

    def __init__(self, every_n_steps: PositiveInt = 100) -> None:
        self.every_n_steps = every_n_steps
        self._sampled: list[tuple[int, dict[str, Tensor]]] = []

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer  # noqa: ARG002
    ) -> None:  # fmt: skip
        """Take a sample if its step has come."""
        if trainer.global_step % self.every_n_steps == 0 and trainer.is_global_zero:
            self._sampled.append((trainer.global_step + 1, norms(pl_module)))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Read the samples back and log them."""
        sampled, self._sampled = self._sampled, []
        for step, found in sampled:
            values = {name: value.item() for name, value in found.items()}
            for logger in trainer.loggers:
                logger.log_metrics(values, step=step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log those after the last validation."""
        self.on_validation_start(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the samples that no validation has logged yet."""
        values = [(step, {name: value.item() for name, value in found.items()}) for step, found in self._sampled]
        return {"sampled": values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the samples of a run that goes on."""
        self._sampled = [
            (step, {name: torch.tensor(value) for name, value in found.items()})
            for step, found in state_dict["sampled"]
        ]


def norms(model: L.LightningModule) -> dict[str, Tensor]:
    """Return ``gradient_norm`` and, for each part of the model that is trained, ``gradient_norm/PART``, each ``()``."""
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            parts.setdefault(name.partition(".")[0], []).append(parameter.grad.detach())
    found = {f"gradient_norm/{part}": torch.nn.utils.get_total_norm(grads) for part, grads in parts.items()}
    if not found:
        return {}
    return {"gradient_norm": torch.stack(list(found.values())).norm(), **found}
