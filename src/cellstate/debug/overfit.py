"""Can it learn? One training batch by heart: a network that cannot do that will not learn the task."""

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
NOTHING = 1e-4  # nats or squared units: less than that is nothing to learn


class Overfit(Preset):
    """Trains on the first training batch alone until it is known by heart, or the steps are spent.

    The batch is taken for learnt where no more than ``tolerance`` of what can be learnt is left, (error - least) /
    (first - least). The least is what the batch allows (``bounds_of``). The first is the error of the best constant
    answer, or that of the untrained network where it is smaller, as a forecaster begins with the last value. The error
    of classes, states and symbols is the loss, in nats. That of values is the squared error, whatever the loss, as the
    likelihood of a distribution has no least.

    Args:
        steps: optimiser steps before it is given up.
        rows: sequences, windows or streams of the batch; what is random in 64 long ones is more than a small network
            can know by heart.
        tolerance: share of what can be learnt that may be left.
    """

    name: ClassVar[str] = "overfit"
    scores_splits: ClassVar[bool] = False

    def __init__(self, *, steps: PositiveInt = 2000, rows: PositiveInt = 16, tolerance: Share = 0.01) -> None:
        self.steps, self.rows = steps, rows
        self.memory = Memorising(tolerance)

    def prepare(self, data: SequenceData) -> None:
        """Leave training nothing but its first batch, and validation the same."""
        data.repeat_first_batch(self.steps, self.rows)

    def check(self, trainer: L.Trainer, *, again: bool) -> None:  # noqa: ARG002
        """Refuse several processes: each would have a part of the batch, and judge by that."""
        if trainer.world_size > 1:
            raise RequestError(f"debug=overfit: takes one process, not {trainer.world_size}; set trainer.devices=1")

    def callbacks(self) -> list[L.Callback]:
        """Return what judges and stops the training."""
        return [self.memory]

    def record(self) -> dict[str, Any]:
        """Return the verdict and what it rests on."""
        return self.memory.record()

    def conclude(self, folder: Path, *, quiet: bool) -> None:  # noqa: ARG002
        """Say whether the batch was learnt."""
        if not self.memory.learnt:
            left = 100 * min(1.0, self.memory.left)
            raise RunError(
                f"NOT learnt: {self.memory.course()}; {left:.1f} % of what this batch has to teach is left, and "
                f"{100 * self.memory.tolerance:g} % may be: try another optimizer.lr, a larger backbone.hidden_size or "
                "debug.steps; where nothing helps, look for a mistake in data or model"
            )
        if not quiet:
            print(f"learnt: {self.memory.course()}")


class Memorising(L.Callback):
    """Judges how well a batch is known by heart at each validation, and ends the training where it is."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.metric = "loss"
        self.first: dict[str, float] = {}  # scores of the untrained network
        self.start = self.possible = 0.0  # what share is taken between
        self.scores: dict[str, float] = {}  # the best so far by ``metric``
        self.step = 0  # at which they were reached

    @property
    def left(self) -> float:
        """Share of what can be learnt that is left; 1 before anything was measured."""
        return (self.scores[self.metric] - self.possible) / (self.start - self.possible) if self.scores else 1.0

    @property
    def learnt(self) -> bool:
        """Whether no more is left than may be."""
        return self.left <= self.tolerance

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Score the untrained network, and find out what can be learnt.

        Raises:
            RunError: nothing can.
        """
        if self.first:  # the run goes on
            return
        loader: Any = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        batch = pl_module.transfer_batch_to_device(next(iter(loader)), pl_module.device, 0)
        pl_module.eval()
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            scores = pl_module.new_scores()
            pl_module.update_scores(scores, pl_module.compute_output(batch), batch)
        pl_module.train()
        self.first, bounds = scores.compute(), bounds_of(batch)
        # Only the squared error of values, and the cross-entropy of what is counted, are what the bounds are of.
        if batch.targets.is_floating_point():
            self.metric = "mse_scaled"
        self.start, self.possible = min(bounds.constant, self.first[self.metric]), bounds.possible
        if self.start - self.possible < NOTHING:
            raise RunError(
                f"debug=overfit: there is nothing to learn in its batch of {len(batch.inputs)}, on which no answer is "
                "better than a constant one; set a larger debug.rows, or another seed"
            )

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Judge."""
        scores = pl_module.results["val"]
        if not self.scores or scores[self.metric] < self.scores[self.metric]:
            self.scores, self.step = dict(scores), trainer.global_step
        if self.learnt:
            trainer.should_stop = True

    def course(self) -> str:
        """Return in words how far it came: from where, to where, in how many steps."""
        told = {"loss": "loss"} if self.metric == "loss" else {self.metric: "squared error", "loss": "loss"}
        parts = [f"{name} {number(self.first[key])} -> {number(self.scores[key])}" for key, name in told.items()]
        floor = f", where {number(self.possible)} is possible" if self.possible > NOTHING else ""
        return f"{', '.join(parts)} in {self.step:,} steps{floor}"

    def record(self) -> dict[str, Any]:
        """Return the verdict and what it rests on."""
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
        """Return what was measured."""
        names = ("metric", "first", "start", "possible", "scores", "step")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a run that goes on had measured."""
        for name, value in state_dict.items():
            setattr(self, name, value)
