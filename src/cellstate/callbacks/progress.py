"""A progress display that small models do not feel: a step costs a clock reading, the screen a few updates a second."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

REFRESH = 0.25  # seconds between updates of a terminal
LINE_EVERY = 10.0  # seconds between lines where the output is a file


class Progress(L.Callback):
    """A bar with loss, best, speed and time left on a terminal; now and then a line where the output is a file."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bar: Bar | None = None
        self._shown = 0.0
        self._began = (0.0, 0)  # seconds and step at which this fit began
        self._best: float | None = None
        self._line_epoch = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Open the bar."""
        self._began = (time.monotonic(), trainer.global_step)
        self._shown = time.monotonic()
        if not trainer.is_global_zero or not self.console.is_terminal:
            return
        self._bar = Bar(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
            auto_refresh=False,
        )
        total = trainer.estimated_stepping_batches
        self._bar.add_task("", total=None if total == float("inf") else int(total), epoch=1, state="")
        self._bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Update the display if its time has come."""
        now = time.monotonic()
        if now - self._shown >= (REFRESH if self._bar else LINE_EVERY):
            self._shown = now
            self._show(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Take note of the best."""
        loss = pl_module.results.get("val", {}).get("loss")
        if loss is not None and (self._best is None or loss < self._best):
            self._best = loss
        if self._bar:
            self._show(trainer, pl_module)

    def _show(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        losses = pl_module.train_results()
        validated = pl_module.results.get("val", {}).get("loss")
        speed = (trainer.global_step - self._began[1]) / max(time.monotonic() - self._began[0], 1e-9)
        parts = [
            f"train {losses['loss']:.4f}" if losses else "",
            f"val {validated:.4f}" if validated is not None else "",
        ]
        parts += [
            f"best {self._best:.4f}" if self._best is not None else "",
            f"{speed:,.{0 if speed >= 10 else 1}f} steps/s",
        ]
        state = "  ".join(part for part in parts if part)
        if self._bar:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=trainer.global_step, epoch=trainer.current_epoch + 1, state=state)
            self._bar.refresh()
        else:
            self.console.print(
                f"epoch {trainer.current_epoch + 1}  step {trainer.global_step:,}  {state}", highlight=False
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:  # noqa: ARG002
        """Close the bar, so that what follows is readable."""
        self._close()

    def _close(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
