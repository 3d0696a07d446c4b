"""Keeps the best checkpoint by the validation loss, and the last, from which a run goes on as if never stopped.

``best.ckpt`` is written within the validation that found it. ``last.ckpt`` is written only between two steps with
nothing half done: no validation due, no epoch about to end, no gradient half accumulated. What Lightning keeps of its
loops is exact there, whereas it would skip the validation that a step is about to run, or a step of a schedule that
waits for its result. Where several processes train, all of them stop and save at the same step. The one before it stays
as ``previous.ckpt`` until the run is complete: a disk may lose what it said it had written.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from cellstate.callbacks.position import begin_resumed_epoch, newest_epoch, nothing_half_done
from cellstate.checkpoint import FORMAT, KEY, RANDOM, DamagedError, keep, random_state, restore_random_state, verify
from cellstate.config.types import PositiveFloat, PositiveInt
from cellstate.distributed import Agreement, gather, own_of
from cellstate.metrics.table import MONITOR, rank
from cellstate.runs.folder import now
from cellstate.runs.provenance import computing
from cellstate.runs.stopping import Stopped, StopRequest

Kept = Literal["best", "last"]


class Checkpoints(Checkpoint):
    """Writes ``best.ckpt`` whenever the monitored metric improves, and ``last.ckpt`` after every validation.

    ``last.ckpt`` is also written every so many steps or minutes, at the end, and when the run is told to stop. A run
    that diverges does not write it: the last good one stays.

    Args:
        folder: where they go.
        record: what cellstate keeps in each of them, beside Lightning's own state.
        stop: whether the run was told to stop.
        every_n_steps: optimiser steps between two writings; None: only the minutes count.
        every_n_minutes: minutes between two writings; None: only the steps count.
        monitor: the metric that tells which weights are best, such as ``val/accuracy``; None: ``val/loss``. Which way
            is better is said in ``metrics/table.py``.
        keep: which weights ``best.ckpt`` holds: the ``best`` by the monitor, or the ``last``, for a schedule of fixed
            length whose validation split is too small to choose by.
    """

    def __init__(
        self,
        folder: Path,
        record: dict[str, Any],
        stop: StopRequest | None = None,
        *,
        every_n_steps: PositiveInt | None = None,
        every_n_minutes: PositiveFloat | None = 5.0,
        monitor: str | None = None,
        keep: Kept = "best",
    ) -> None:
        self.folder, self.record, self.monitor, self.kept = folder, record, monitor or MONITOR, keep
        self.stop = stop or StopRequest()
        self._steps = math.inf if every_n_steps is None else every_n_steps
        self._seconds = math.inf if every_n_minutes is None else 60 * every_n_minutes
        self.best: dict[str, Any] = {"epoch": None, "step": None, "monitor": self.monitor, "value": math.inf}
        self.scored_step = -1  # at which the model's results were computed
        self._saved = (0, 0.0)  # step and time of the newest last.ckpt
        self._due = False  # whether a validation waits to be kept in it
        self._finished = False  # whether training is over
        self._random_state: dict[str, Any] | None = None  # to go on with
        self._steps_agreed, self._batches_agreed = Agreement(), Agreement()
        self._whole: Path | None = None  # the newest checkpoint that is known to be what was written
        self._stopping = False  # whether some process was told to stop, as all of them know
        self._overdue = False  # and has waited for too long
        self._time_is_up = False  # whether the minutes since the newest last.ckpt have passed for some process

    @property
    def best_path(self) -> Path:
        """The best checkpoint."""
        return self.folder / "best.ckpt"

    @property
    def last_path(self) -> Path:
        """The newest checkpoint."""
        return self.folder / "last.ckpt"

    @property
    def previous_path(self) -> Path:
        """The one before it."""
        return self.folder / "previous.ckpt"

    def newest(self) -> Path | None:
        """Return the newest checkpoint that is whole, for a run to go on from; None where there is none yet.

        Raises:
            DamagedError: there are some, and all of them are damaged.
        """
        self._whole = newest_whole(self.folder)
        return self._whole

    # ------------------------------------------------------------------ when

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Have all processes look into the folder of the first: others, started by another hand, know their own."""
        self.folder = trainer.strategy.broadcast(self.folder)

    def _agree_on_step(self, trainer: L.Trainer) -> None:
        late = time.monotonic() - self._saved[1] >= self._seconds
        wishes = (self.stop.signal is not None, self.stop.overdue, late)
        told, overdue, late = self._steps_agreed.any(wishes, trainer.strategy.root_device)
        self._stopping, self._overdue = self._stopping or told, self._overdue or overdue
        self._time_is_up = self._time_is_up or late

    def _agree_on_batch(self, trainer: L.Trainer) -> None:
        wishes = (self.stop.signal is not None, self.stop.overdue)
        told, overdue = self._batches_agreed.any(wishes, trainer.strategy.root_device)
        self._stopping, self._overdue = self._stopping or told, self._overdue or overdue

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Take up the random numbers where the checkpoint left them, and the clock from now on."""
        self.stop.listen_alone()
        self._saved = (trainer.global_step, time.monotonic())
        begin_resumed_epoch(trainer)
        if self._random_state is None and trainer.global_rank:
            torch.manual_seed(torch.initial_seed() + trainer.global_rank)  # or dropout were the same in all processes
        self._take_up_random_numbers()
        if self._finished:  # and tested neither: nothing is left to train
            trainer.should_stop = True

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Keep what the epoch before ended with."""
        if self._due or self._stopping:
            self._save_last(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Write if it is time, or wait for the next step if something is due."""
        self._agree_on_step(trainer)
        enough = trainer.global_step - self._saved[0] >= self._steps
        if self._due or self._stopping or enough or self._time_is_up:
            if nothing_half_done(trainer):
                self._save_last(trainer)
            elif self._overdue:
                raise Stopped

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Break off a validation that holds up a stop for too long, or that follows training; what was kept stays."""
        self._agree_on_batch(trainer)
        if self._overdue or (self._stopping and trainer.state.fn != "fit"):
            raise Stopped

    def on_test_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Break off a test: the run goes on with it."""
        self._agree_on_batch(trainer)
        if self._stopping:
            raise Stopped

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Keep the weights that were just judged, if they are the best so far."""
        if trainer.state.fn == "fit":
            self._keep_if_best(trainer)
            self._due = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Keep what training ended with, if no process before this one has."""
        if not self._finished:
            self._finished = True
            self._save_last(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Take up the random numbers where nothing was left to train: what follows may draw some too."""
        self._take_up_random_numbers()

    def keep(self, trainer: L.Trainer) -> None:
        """Keep what was scored after training, where steps or time had ended it between two validations."""
        self._finished = True
        self._keep_if_best(trainer)
        self._save_last(trainer)

    def _take_up_random_numbers(self) -> None:
        if self._random_state is not None:
            restore_random_state(self._random_state)
            self._random_state = None

    # ------------------------------------------------------------------ what

    def _keep_if_best(self, trainer: L.Trainer) -> None:
        self.scored_step = trainer.global_step
        split, _, metric = self.monitor.partition("/")
        value: float = trainer.lightning_module.results[split][metric]  # type: ignore[index, union-attr, assignment]
        if self.improves(value):
            self.best = {
                "epoch": newest_epoch(trainer),
                "step": trainer.global_step,
                "monitor": self.monitor,
                "value": value,
                **({"kept": "last"} if self.kept == "last" else {}),
            }
            self._save_best(trainer)

    def _save_best(self, trainer: L.Trainer) -> None:
        weights = trainer.strategy.lightning_module_state_dict()  # where they are sharded, all processes take part
        trainer.strategy.save_checkpoint({"state_dict": weights, KEY: self._recorded(trainer)}, self.best_path)
        trainer.strategy.barrier("best.ckpt")

    def improves(self, value: float) -> bool:
        """Say whether a value of the monitor is better than the best so far; an equal one, or NaN, is not.

        Where the last weights are kept, any is.
        """
        if self.kept == "last":
            return True
        best = None if self.best["step"] is None else self.best["value"]
        return rank(self.monitor, value) < rank(self.monitor, best)

    def _save_last(self, trainer: L.Trainer) -> None:
        self._due = self._time_is_up = False
        self._saved = (trainer.global_step, time.monotonic())
        if self._whole == self.last_path and trainer.is_global_zero:
            keep(self.last_path, self.previous_path.name)
        trainer.save_checkpoint(self.last_path)
        self._whole = self.last_path
        if self._stopping and not self._finished:
            raise Stopped

    def _recorded(self, trainer: L.Trainer) -> dict[str, Any]:
        """Return what it takes to rebuild the experiment, and to check its numbers."""
        model: Any = trainer.lightning_module
        return {
            "format": FORMAT,
            **self.record,
            "written": now(),
            "machine": {**self.record.get("machine", {}), **computing(trainer)},
            "epoch": newest_epoch(trainer),
            "step": trainer.global_step,
            "metrics": dict(model.results) if trainer.global_step == self.scored_step else {},
            "best": self.best,
            "finished": self._finished,
        }

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Add the record, and the random state of each process to go on with."""
        checkpoint[KEY] = self._recorded(trainer)
        checkpoint[RANDOM] = gather(random_state())

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Take up what a run that goes on had reached."""
        record = checkpoint[KEY]
        self.best, self._finished = record["best"], record["finished"]
        self._random_state = own_of(checkpoint[RANDOM])
        self.scored_step = record["step"] if record["metrics"] else -1


def newest_whole(folder: Path) -> Path | None:
    """Return the newest of the checkpoints in a folder that a run can go on from; None where there is none.

    Raises:
        DamagedError: all that are there are damaged; says so of the newest.
    """
    damage = None
    for path in (folder / "last.ckpt", folder / "previous.ckpt"):
        try:
            if path.exists():
                verify(path)
                return path
        except DamagedError as error:
            damage = damage or error
    if damage is not None:
        raise damage
    return None
