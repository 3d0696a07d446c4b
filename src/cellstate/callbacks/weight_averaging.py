"""Average the weights over the steps of training; validation, the kept checkpoint and the test use the averages.

Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992; with equal weights: Izmailov et al.,
Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cellstate.config.types import NonNegativeInt, Probability

WARM_UP = 10  # the moving average covers about this fraction, a tenth, of the steps so far


class WeightAveraging(L.Callback):
    """Replaces the weights by their averages during validations, and for ``best.ckpt``.

    After n averaged steps the average is d * average + (1 - d) * weights. For a moving average
    d = min(decay, (1 + n) / (10 + n)), so that it covers about the last tenth of a short run, too. For equal weights
    d = n / (n + 1). The running statistics of normalisation layers are averaged likewise; buffers that a validation
    sets (``SequenceModel.chosen_buffers``) are not.

    ``last.ckpt`` has the weights in ``state_dict``, as training continues with them, and the averages in the state of
    this callback.

    Args:
        decay: of the moving average; None: equal weights.
        start: optimiser steps before the first that is averaged; until then there is only the newest.
    """

    def __init__(self, decay: Probability | None = 0.999, start: NonNegativeInt = 0) -> None:
        self.decay, self.start = decay, start
        self.averaged: dict[str, Tensor] = {}
        self._count = 0  # averaged steps
        self._step = 0  # the newest step seen: one with accumulated gradients ends several batches
        self._live: list[Tensor] = []  # what is averaged, in the order of the averages
        self._weights: dict[str, Tensor] = {}  # of the training, while the model has the averages

    def __str__(self) -> str:
        """Return what is averaged, for the user."""
        how = "a mean of all steps" if self.decay is None else f"a moving average over steps, decay {self.decay:g}"
        since = f" after the first {self.start:,}" if self.start else ""
        return f"weights are averaged: {how}{since}, is validated, kept and tested (callbacks.weight_averaging)"

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Start with the initial weights, or go on with the averages of a resumed run."""
        live = averaged_tensors(pl_module)
        begun = self.averaged or live
        # In single precision at least: a small step towards the weights would be lost in half of it.
        kept = {name: torch.promote_types(tensor.dtype, torch.float32) for name, tensor in live.items()}
        self.averaged = {
            name: begun[name].detach().to(tensor.device, kept[name], copy=True) for name, tensor in live.items()
        }
        self._live = list(live.values())

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Add the weights after an optimiser step."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        averages = list(self.averaged.values())
        weights = [live.to(average.dtype) for live, average in zip(self._live, averages, strict=True)]
        get_ema_multi_avg_fn(self._share_of_average())(averages, weights, 0)
        self._count += self._step > self.start

    def _share_of_average(self) -> float:
        if self._step <= self.start:
            return 0.0
        if self.decay is None:
            return self._count / (self._count + 1)
        return min(self.decay, (1 + self._count) / (WARM_UP + self._count))

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Put the averages in place."""
        self._put(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Restore the weights, before other callbacks save anything."""
        self._restore(pl_module)

    @contextmanager
    def in_place(self, model: Any) -> Iterator[None]:
        """Let a model have the averages."""
        self._put(model)
        try:
            yield
        finally:
            self._restore(model)

    @torch.no_grad()
    def _put(self, model: Any) -> None:
        live = averaged_tensors(model)  # on an accelerator, a model that came back to it has other buffers
        self._weights = {name: live[name].clone() for name in self.averaged}
        for name, average in self.averaged.items():
            live[name].copy_(average)

    @torch.no_grad()
    def _restore(self, model: Any) -> None:
        live = averaged_tensors(model)
        for name, weights in self._weights.items():
            live[name].copy_(weights)
        self._weights = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and how many steps they are of."""
        return {"averaged": self.averaged, "count": self._count, "step": self._step}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Restore the averages of a resumed run.

        Raises:
            ValueError: they are not of this model.
        """
        state = checkpoint["callbacks"][self.state_key]
        shapes = {name: live.shape for name, live in averaged_tensors(pl_module).items()}
        if {name: average.shape for name, average in state["averaged"].items()} != shapes:
            raise ValueError("the averages of the weights are not of this model")
        self.averaged, self._count, self._step = state["averaged"], int(state["count"]), int(state["step"])


def averaged_tensors(model: Any) -> dict[str, Tensor]:
    """Return the parameters and floating-point buffers to average, shared ones once, by their names in checkpoints."""
    stored = model.state_dict().keys()
    buffers = {
        name: buffer
        for name, buffer in model.named_buffers()
        if name in stored and buffer.is_floating_point() and name.rpartition(".")[2] not in model.chosen_buffers
    }
    return {**dict(model.named_parameters()), **buffers}


def averaged_weights(trainer: L.Trainer) -> AbstractContextManager[None]:
    """Let the model of a trainer have the averages of its weights, if they are averaged."""
    found = [callback for callback in trainer.callbacks if isinstance(callback, WeightAveraging)]  # type: ignore[attr-defined]
    return found[0].in_place(trainer.lightning_module) if found else nullcontext()
