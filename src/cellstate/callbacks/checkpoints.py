"""Save the best checkpoint by a validation metric, and the last one, from which a run resumes exactly.

``best.ckpt`` is written right after the validation that improved. ``last.ckpt`` is only written between two steps at a
safe point: no validation due, no end of an epoch, no partially accumulated gradient. Lightning's loop state is exact
there; elsewhere it would skip the due validation, or a step of a schedule that depends on it. Several processes stop
and save at the same step. The checkpoint before it is kept as ``previous.ckpt`` until the run is completed, in case the
disk lost the newest.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from cellstate.callbacks.position import at_safe_point, begin_resumed_epoch, newest_epoch
from cellstate.callbacks.weight_averaging import averaged_weights
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

    ``last.ckpt`` is also written at intervals of steps or minutes, at the end, and when the run is stopped, but not
    after the loss diverged.

    Args:
        folder: the folder of the checkpoints.
        record: cellstate's part of each checkpoint.
        stop: the stop request of the run.
        every_n_steps: optimiser steps between two saves; None: no limit.
        every_n_minutes: minutes between two saves; None: no limit.
        monitor: the metric that selects the best weights, such as ``val/accuracy``; None: ``val/loss``. Its direction
            is defined in ``metrics/table.py``.
        keep: the weights in ``best.ckpt``: the ``best`` by the monitor, or the ``last``, for a schedule of fixed length
            with a validation split that is too small to choose by.
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
        self.scored_step = -1  # step of the model's results
        self._saved = (0, 0.0)  # step and time of the newest last.ckpt
        self._due = False  # whether a validation has not been saved yet
        self._finished = False  # whether training has finished
        self._random_state: dict[str, Any] | None = None  # restored when training starts
        self._steps_agreed, self._batches_agreed = Agreement(), Agreement()
        self._intact: Path | None = None  # the newest checkpoint that is known to be intact
        self._stopping = False  # whether any process was asked to stop, agreed by all
        self._overdue = False  # and the stop has been pending for too long
        self._time_is_up = False  # whether a save by time is due in any process

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
        """The second newest checkpoint."""
        return self.folder / "previous.ckpt"

    def newest(self) -> Path | None:
        """Return the newest intact checkpoint to resume from; None if there is none.

        Raises:
            DamagedError: all checkpoints are damaged.
        """
        self._intact = newest_intact(self.folder)
        return self._intact

    # ------------------------------------------------------------------ when

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Use the folder of the first process in all processes; each may have its own if started externally."""
        self.folder = trainer.strategy.broadcast(self.folder)

    def _agree(self, agreement: Agreement, trainer: L.Trainer) -> None:
        late = time.monotonic() - self._saved[1] >= self._seconds
        requests = (self.stop.signal is not None, self.stop.overdue, late)
        stop, overdue, late = agreement.any(requests, trainer.strategy.root_device)
        self._stopping, self._overdue = self._stopping or stop, self._overdue or overdue
        self._time_is_up = self._time_is_up or late

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Restore the random state, and start the clock."""
        self.stop.listen_alone()
        self._saved = (trainer.global_step, time.monotonic())
        begin_resumed_epoch(trainer)
        if self._random_state is None and trainer.global_rank:
            torch.manual_seed(
                torch.initial_seed() + trainer.global_rank
            )  # otherwise dropout would be the same in all processes
        self._restore_random_state()
        if self._finished:  # interrupted in the test: nothing is left to train
            trainer.should_stop = True

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Save the end of the previous epoch."""
        if self._due or self._stopping:
            self._save_last(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Save if due, at the next safe point."""
        self._agree(self._steps_agreed, trainer)
        enough = trainer.global_step - self._saved[0] >= self._steps
        if self._due or self._stopping or enough or self._time_is_up:
            if at_safe_point(trainer):
                self._save_last(trainer)
            elif self._overdue:
                raise Stopped

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Interrupt a validation that delays a stop for too long, or that follows training."""
        self._agree(self._batches_agreed, trainer)
        if self._overdue or (self._stopping and trainer.state.fn != "fit"):
            raise Stopped

    def on_test_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Interrupt a test; a resumed run repeats it."""
        self._agree(self._batches_agreed, trainer)
        if self._stopping:
            raise Stopped

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Save the validated weights if they are the best so far."""
        if trainer.state.fn == "fit":
            self._keep_if_best(trainer)
            self._due = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Save the end of training, unless it was resumed from there."""
        if not self._finished:
            self._finished = True
            self._save_last(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Restore the random state also if there was nothing left to train."""
        self._restore_random_state()

    def keep(self, trainer: L.Trainer) -> None:
        """Save the validation after training, if steps or time ended it between two validations."""
        self._finished = True
        self._keep_if_best(trainer)
        self._save_last(trainer)

    def _restore_random_state(self) -> None:
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
        with averaged_weights(trainer):
            weights = trainer.strategy.lightning_module_state_dict()  # if they are sharded, all processes take part
            trainer.strategy.save_checkpoint({"state_dict": weights, KEY: self._recorded(trainer)}, self.best_path)
        trainer.strategy.barrier("best.ckpt")

    def improves(self, value: float) -> bool:
        """Return whether a value of the monitor is strictly better than the best so far; NaN is not.

        If the last weights are kept, any value is.
        """
        if self.kept == "last":
            return True
        best = None if self.best["step"] is None else self.best["value"]
        return rank(self.monitor, value) < rank(self.monitor, best)

    def _save_last(self, trainer: L.Trainer) -> None:
        self._due = self._time_is_up = False
        self._saved = (trainer.global_step, time.monotonic())
        if self._intact == self.last_path and trainer.is_global_zero:
            keep(self.last_path, self.previous_path.name)
        trainer.save_checkpoint(self.last_path)
        self._intact = self.last_path
        if self._stopping and not self._finished:
            raise Stopped

    def _recorded(self, trainer: L.Trainer) -> dict[str, Any]:
        """Return the record to rebuild the experiment and to verify its scores."""
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
        """Add the record and the random state of each process."""
        checkpoint[KEY] = self._recorded(trainer)
        checkpoint[RANDOM] = gather(random_state())

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Restore the state of a resumed run."""
        record = checkpoint[KEY]
        self.best, self._finished = record["best"], record["finished"]
        self._random_state = own_of(checkpoint[RANDOM])
        self.scored_step = record["step"] if record["metrics"] else -1


def newest_intact(folder: Path) -> Path | None:
    """Return the newest intact checkpoint of a folder; None if there is none.

    Raises:
        DamagedError: all are damaged; names the newest.
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
