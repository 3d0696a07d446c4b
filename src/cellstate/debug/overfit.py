"""Can it learn? Overfit one training batch: a network that cannot do that will not learn the task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import lightning as L
import torch
from pydantic import Field

from cellstate.config.types import PositiveInt
from cellstate.data import SequenceData
from cellstate.debug.batch_bounds import bounds_of
from cellstate.debug.preset import Preset
from cellstate.errors import RequestError, RunError
from cellstate.metrics.display import number

Share = Annotated[float, Field(gt=0, lt=1)]
NOTHING = 1e-4  # nats or squared units; smaller differences count as nothing to learn


class Overfit(Preset):
    """Trains only on the first training batch until it is learnt, or up to a number of steps.

    The batch is learnt if at most ``tolerance`` of the learnable error is left: (error - minimum) / (first - minimum).
    The minimum follows from the batch (``bounds_of``). ``first`` is the error of the best constant prediction, or of
    the untrained network if that is smaller, as a forecaster starts from the last value. The error of classes, states
    and symbols is the loss in nats; that of values is the squared error, whatever the loss, as a likelihood has no
    minimum.

    Args:
        steps: maximum optimiser steps.
        rows: sequences, windows or streams of the batch; a small network cannot memorise 64 long random ones.
        tolerance: fraction of the learnable error that may be left.
    """

    name: ClassVar[str] = "overfit"
    scores_splits: ClassVar[bool] = False

    def __init__(self, *, steps: PositiveInt = 2000, rows: PositiveInt = 16, tolerance: Share = 0.01) -> None:
        self.steps, self.rows = steps, rows
        self.memory = Memorising(tolerance)

    def prepare(self, data: SequenceData) -> None:
        """Restrict training and validation to the first training batch."""
        data.repeat_first_batch(self.steps, self.rows)

    def check(self, trainer: L.Trainer, *, again: bool) -> None:  # noqa: ARG002
        """Reject several processes, each of which would only have a part of the batch."""
        if trainer.world_size > 1:
            raise RequestError(f"debug=overfit: requires one process, not {trainer.world_size}; set trainer.devices=1")

    def callbacks(self) -> list[L.Callback]:
        """Return the callback that stops the training."""
        return [self.memory]

    def record(self) -> dict[str, Any]:
        """Return the result and the errors behind it."""
        return self.memory.record()

    def finish(self, folder: Path, *, quiet: bool) -> None:  # noqa: ARG002
        """Report whether the batch was learnt."""
        if not self.memory.learnt:
            left = 100 * min(1.0, self.memory.left)
            raise RunError(
                f"NOT learnt: {self.memory.course()}; {left:.1f} % of the learnable error is left, more than "
                f"{100 * self.memory.tolerance:g} %: try another optimizer.lr, a larger backbone.hidden_size or "
                "debug.steps; otherwise check data and model for errors"
            )
        if not quiet:
            print(f"learnt: {self.memory.course()}")


class Memorising(L.Callback):
    """Measures at each validation how well a batch is learnt, and stops the training if it is."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.metric = "loss"
        self.first: dict[str, float] = {}  # scores of the untrained network
        self.start = self.possible = 0.0  # errors between which the fraction is measured
        self.scores: dict[str, float] = {}  # the best so far by ``metric``
        self.step = 0  # step of these scores

    @property
    def left(self) -> float:
        """Fraction of the learnable error that is left; 1 before the first validation."""
        return (self.scores[self.metric] - self.possible) / (self.start - self.possible) if self.scores else 1.0

    @property
    def learnt(self) -> bool:
        """Whether no more than ``tolerance`` is left."""
        return self.left <= self.tolerance

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Score the untrained network and compute the bounds of the batch.

        Raises:
            RunError: there is nothing to learn.
        """
        if self.first:  # the run is resumed
            return
        loader: Any = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        batch = pl_module.transfer_batch_to_device(next(iter(loader)), pl_module.device, 0)
        pl_module.eval()
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            scores = pl_module.new_scores()
            pl_module.update_scores(scores, pl_module.compute_output(batch), batch)
        pl_module.train()
        self.first, bounds = scores.compute(), bounds_of(batch)
        # The bounds are of the squared error of values, and of the cross-entropy otherwise.
        if batch.targets.is_floating_point():
            self.metric = "mse_scaled"
        self.start, self.possible = min(bounds.constant, self.first[self.metric]), bounds.possible
        if self.start - self.possible < NOTHING:
            raise RunError(
                f"debug=overfit: nothing to learn in a batch of {len(batch.inputs)}: no prediction is better than a "
                "constant one; set a larger debug.rows, or another seed"
            )

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Update the best scores, and stop if the batch is learnt."""
        scores = pl_module.results["val"]
        if not self.scores or scores[self.metric] < self.scores[self.metric]:
            self.scores, self.step = dict(scores), trainer.global_step
        if self.learnt:
            trainer.should_stop = True

    def course(self) -> str:
        """Describe the errors before and after, and the number of steps."""
        names = {"loss": "loss"} if self.metric == "loss" else {self.metric: "squared error", "loss": "loss"}
        parts = [f"{name} {number(self.first[key])} -> {number(self.scores[key])}" for key, name in names.items()]
        floor = f", minimum {number(self.possible)}" if self.possible > NOTHING else ""
        return f"{', '.join(parts)} in {self.step:,} steps{floor}"

    def record(self) -> dict[str, Any]:
        """Return the result and the errors behind it."""
        return {
            "learnt": self.learnt,
            "metric": self.metric,
            "first": self.first.get(self.metric),
            "reached": self.scores.get(self.metric),
            "possible": self.possible,
            "left": self.left,
            "tolerance": self.tolerance,
            "step": self.step,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the measurements."""
        names = ("metric", "first", "start", "possible", "scores", "step")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the measurements of a resumed run."""
        for name, value in state_dict.items():
            setattr(self, name, value)
