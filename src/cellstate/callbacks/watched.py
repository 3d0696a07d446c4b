"""Report each validation to a watcher, which may prune the run."""

from __future__ import annotations

from typing import Any

import lightning as L

from cellstate.callbacks.history import History
from cellstate.runs.stopping import StopRequest
from cellstate.runs.watching import Watcher


class Watched(L.Callback):
    """Asks ``watcher`` after each validation whether to prune the run.

    The run stops at the next safe point, with its state in ``last.ckpt``, in all processes together. After the last
    validation it is not pruned any more.

    Args:
        watcher: decides.
        history: the rows of the validations; it must come before this in the list of callbacks.
        stop: the stop request of the run.
    """

    def __init__(self, watcher: Watcher, history: History, stop: StopRequest) -> None:
        self._watcher, self._history, self._stop = watcher, history, stop

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Ask again in a resumed run, which may have been killed after the answer."""
        self._ask(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Ask the watcher."""
        if trainer.state.fn == "fit":
            self._ask(trainer)

    def _ask(self, trainer: L.Trainer) -> None:
        rows = self._history.rows
        if not rows or not trainer.is_global_zero or self._stop.signal is not None:
            return
        scores: dict[str, Any] = {key: value for key, value in rows[-1].items() if "/" in key}
        if reason := self._watcher.give_up(len(rows), scores):
            self._stop.prune(reason)
