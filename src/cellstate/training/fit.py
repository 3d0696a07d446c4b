"""Fit the model, resuming from the newest checkpoint if there is one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L

from cellstate.callbacks import Checkpoints, History
from cellstate.data import SequenceData
from cellstate.errors import RunError, warn
from cellstate.model import SequenceModel
from cellstate.runs.folder import shortest
from cellstate.runs.stopping import Stopped
from cellstate.runs.watching import PrunedError


def fit(trainer: L.Trainer, model: SequenceModel, data: SequenceData, keeper: Checkpoints, history: History) -> None:
    """Train, and validate and save steps after the last validation, if time or steps ended the training."""
    newest = keeper.newest()
    if newest == keeper.previous_path and keeper.last_path.exists() and trainer.is_global_zero:
        warn(f"{keeper.last_path} is damaged; resuming from {newest}")
    with passing_on_interruption(trainer, keeper):
        try:
            trainer.fit(model, datamodule=data, ckpt_path=newest and str(newest), weights_only=True)
            if keeper.scored_step != trainer.global_step:
                if data.validates:
                    model.ends_training = True
                    trainer.validate(model, datamodule=data, verbose=False)
                    model.ends_training = False
                else:
                    model.conclude_training()
                history.add(trainer, model)
                keeper.keep(trainer)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            raise RunError(
                f"out of memory at step {trainer.global_step} ({str(error).splitlines()[0]}); "
                "set a smaller data.batch_size or backbone.hidden_size"
            ) from error


@contextmanager
def passing_on_interruption(trainer: L.Trainer, keeper: Checkpoints) -> Iterator[None]:
    """Raise KeyboardInterrupt with a message on Ctrl-C, and restore the handler that Lightning replaced."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        yield
    except (Stopped, SystemExit) as error:
        if isinstance(error, Stopped) and keeper.stop.pruned is not None:
            raise PrunedError(keeper.stop.pruned) from error
        saved = keeper.last_path if keeper.last_path.exists() else None
        raise KeyboardInterrupt(
            f"interrupted at step {trainer.global_step} (epoch {trainer.current_epoch})"
            + (f"; saved in {saved}; {resume_hint(saved.parent.parent)}" if saved else "")
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():  # only the main thread may set signal handlers
            signal.signal(signal.SIGINT, on_interrupt)


def resume_hint(folder: Path) -> str:
    """Return the hint on how to resume a run."""
    return f"resume with: cellstate train run={shortest(folder)}"
