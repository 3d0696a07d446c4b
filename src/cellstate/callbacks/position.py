"""Where training stands: the one place that reads and sets the counters of Lightning's loops.

Lightning documents these loops for nobody, and nothing public replaces them; ``tests/unit/test_position.py`` says what
to do where a new version counts otherwise.
"""

from __future__ import annotations

import lightning as L


def batches_done(trainer: L.Trainer) -> int:
    """Return the training batches worked off since the run began.

    Epochs are told by them, as Lightning's own has already moved on where steps or time end one.
    """
    return trainer.fit_loop.epoch_loop.batch_progress.total.completed


def batches_of_epoch(trainer: L.Trainer) -> int:
    """Return the batches of the present epoch that were begun."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready


def newest_epoch(trainer: L.Trainer) -> int:
    """Return the epoch, from 0, that the newest training batch belonged to."""
    return max(0, batches_done(trainer) - 1) // _batches_an_epoch(trainer)


def whole_epochs(trainer: L.Trainer) -> int:
    """Return how many epochs were trained to their end."""
    return batches_done(trainer) // _batches_an_epoch(trainer)


def _batches_an_epoch(trainer: L.Trainer) -> int:
    return max(1, int(trainer.num_training_batches))


def begin_resumed_epoch(trainer: L.Trainer) -> None:
    """Have a run that is resumed between two epochs begin the next one as any other.

    Lightning (2.6) would count one epoch less as ready, and would go through its first step without a batch. What it
    saves after that differs from an undisturbed run's, and the next time it takes the run for one that is complete, so
    that it starts the data over. Where it resumes within an epoch its counts are exact.
    """
    loop = trainer.fit_loop
    if not loop.restarted_on_epoch_start:
        return
    loop.epoch_progress.total.reset_on_restart()  # it has done so with `current` alone
    loop.epoch_loop.restarting = False  # and what is within it
    loop.on_iteration_done()  # nothing is being restarted any more


def nothing_half_done(trainer: L.Trainer) -> bool:
    """Say whether, after the step that just ended, the next thing is another step of the same epoch.

    Where a number of steps between validations is given, it is counted within the epoch or over all of them; either
    is taken for due, as waiting one step more costs nothing.
    """
    batches = trainer.fit_loop.epoch_loop.batch_progress
    if trainer.should_stop or batches.is_last_batch or batches.current.ready % trainer.accumulate_grad_batches:
        return False
    if trainer.global_step == trainer.max_steps or batches.current.ready >= trainer.num_training_batches:
        return False
    between = trainer.val_check_batch
    return between is None or not any(number % between == 0 for number in (batches.current.ready, batches.total.ready))
