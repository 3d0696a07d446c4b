"""Where training stands, counted in batches: Lightning's own epoch has already moved on where steps or time end one."""

from __future__ import annotations

import lightning as L


def batches_done(trainer: L.Trainer) -> int:
    """Return the training batches worked off since the run began."""
    return trainer.fit_loop.epoch_loop.batch_progress.total.completed


def newest_epoch(trainer: L.Trainer) -> int:
    """Return the epoch, from 0, that the newest training batch belonged to."""
    return max(0, batches_done(trainer) - 1) // _batches_an_epoch(trainer)


def whole_epochs(trainer: L.Trainer) -> int:
    """Return how many epochs were trained to their end."""
    return batches_done(trainer) // _batches_an_epoch(trainer)


def _batches_an_epoch(trainer: L.Trainer) -> int:
    return max(1, int(trainer.num_training_batches))
