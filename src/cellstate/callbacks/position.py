"""Progress of training: the only place that reads and sets the counters of Lightning's loops.

These counters are undocumented, but there is no public alternative; ``tests/unit/test_position.py`` explains what to do
if a new version counts differently.
"""

from __future__ import annotations

import lightning as L


def batches_done(trainer: L.Trainer) -> int:
    """Return the training batches completed since the run started.

    Epochs are derived from them, as Lightning's epoch is already advanced if steps or time end it.
    """
    return trainer.fit_loop.epoch_loop.batch_progress.total.completed


def batches_of_epoch(trainer: L.Trainer) -> int:
    """Return the started batches of the current epoch."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready


def newest_epoch(trainer: L.Trainer) -> int:
    """Return the epoch, from 0, of the latest training batch."""
    return max(0, batches_done(trainer) - 1) // _batches_an_epoch(trainer)


def whole_epochs(trainer: L.Trainer) -> int:
    """Return the number of completed epochs."""
    return batches_done(trainer) // _batches_an_epoch(trainer)


def _batches_an_epoch(trainer: L.Trainer) -> int:
    return max(1, int(trainer.num_training_batches))


def begin_resumed_epoch(trainer: L.Trainer) -> None:
    """Let a run that is resumed between two epochs start the next one normally.

    Lightning (2.6) would count one epoch too few as ready, and run the first step without a batch. Its saved state then
    differs from that of an uninterrupted run, and the next resume would consider the epoch completed and restart the
    data. Within an epoch its counters are exact.
    """
    loop = trainer.fit_loop
    if not loop.restarted_on_epoch_start:
        return
    loop.epoch_progress.total.reset_on_restart()  # Lightning only resets `current`
    loop.epoch_loop.restarting = False  # and its inner loops
    loop.on_iteration_done()  # clears the restart flags


def at_safe_point(trainer: L.Trainer) -> bool:
    """Return whether the step that just ended is followed by another step of the same epoch.

    The interval between validations is counted within the epoch or over all epochs; either counts as due, as waiting
    one more step costs nothing.
    """
    batches = trainer.fit_loop.epoch_loop.batch_progress
    if trainer.should_stop or batches.is_last_batch or batches.current.ready % trainer.accumulate_grad_batches:
        return False
    if trainer.global_step == trainer.max_steps or batches.current.ready >= trainer.num_training_batches:
        return False
    between = trainer.val_check_batch
    return between is None or not any(number % between == 0 for number in (batches.current.ready, batches.total.ready))
