"""Tells whoever looks on at a run of each validation, and stops the run as Ctrl-C would if it is given up."""

from __future__ import annotations

from typing import Any

import lightning as L

from cellstate.callbacks.history import History
from cellstate.runs.stopping import StopRequest
from cellstate.runs.watching import Watcher


class Watched(L.Callback):
    """Asks ``watcher`` after each validation whether to go on.

    The run stops where nothing is half done, so that ``last.ckpt`` holds all that was reached, and the processes of one
    run stop together. Where the last validation is over, nothing is left to give up.

    Args:
        watcher: looks on.
        history: holds what the validations found; it must come before this in the list of callbacks.
        stop: what the run obeys.
    """

    def __init__(self, watcher: Watcher, history: History, stop: StopRequest) -> None:
        self._watcher, self._history, self._stop = watcher, history, stop

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Ask once more of a run that goes on: it may have been killed between the answer and its end."""
        self._ask(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Ask."""
        if trainer.state.fn == "fit":
            self._ask(trainer)

    def _ask(self, trainer: L.Trainer) -> None:
        rows = self._history.rows
        if not rows or not trainer.is_global_zero or self._stop.signal is not None:
            return
        scores: dict[str, Any] = {key: value for key, value in rows[-1].items() if "/" in key}
        if reason := self._watcher.give_up(len(rows), scores):
            self._stop.give_up(reason)
