"""A progress display with low overhead: one clock reading a step, a few screen updates a second."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Timer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cellstate.callbacks.checkpoints import Checkpoints
from cellstate.callbacks.pace import Pace, clock_time, items_of, unit_of
from cellstate.callbacks.position import batches_of_epoch
from cellstate.metrics.display import number

REFRESH = 0.25  # seconds between updates of a terminal
LINE_EVERY = 10.0  # initial seconds between lines if the output is a file
LINES_AN_AGE = 20  # then a line whenever the elapsed time has grown by 1/20
LINE_AT_LEAST = 600.0  # maximum seconds between lines
LONG_EPOCH = 10.0  # seconds; the remaining time of shorter epochs is not shown
WIDEST_BAR = 40


class Progress(L.Callback):
    """Shows two lines on a terminal, or prints lines at intervals if the output is a file.

    They show epoch and step, the training loss since the last validation, the current and the best value of the
    monitored metric, samples or tokens a second, and the remaining time. Values are only read from the device when they
    are shown.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._live: Live | None = None
        self._pace = Pace()
        self._total = math.inf  # optimiser steps of the run
        self._items = 0  # samples or tokens of this process
        self._unit = "samples"
        self._shown = 0.0  # time of the last update
        self._wait = math.inf  # seconds between updates
        self._validating: tuple[int, int] | None = None  # batches done, of how many

    # ------------------------------------------------------------------ when

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Open the display."""
        self._pace, self._shown = Pace(), time.monotonic()
        if not trainer.is_global_zero:
            return
        self._total = trainer.estimated_stepping_batches
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            self._wait = LINE_EVERY
            return
        self._wait = REFRESH
        self._live = Live(console=self.console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._live.start()
        self._show(trainer, pl_module)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Count, and update the display if it is due."""
        self._items += items_of(batch)
        now = time.monotonic()
        if now - self._shown >= self._wait or not self._pace.started:
            self._pace.mark(trainer.global_step, self._items)
            self._unit = unit_of(batch)
            if now - self._shown >= self._wait:
                self._show(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Pause the training clock."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._pace.mark(trainer.global_step, self._items)
            self._pace.validation_begins()

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: Any, *place: Any) -> None:
        """Show the progress of a long validation."""
        if self._live and time.monotonic() - self._shown >= self._wait and not trainer.sanity_checking:
            self._validating = (place[2] + 1, int(sum(trainer.num_val_batches)))
            self._show(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Resume the training clock."""
        self._validating = None
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._pace.validation_ends()
            if self._live or time.monotonic() - self._shown >= LINE_EVERY:
                self._show(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        """Close the display."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:  # noqa: ARG002
        """Close the display."""
        self._close()

    def _close(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    # ------------------------------------------------------------------ what

    def _show(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        numbers = self._numbers(trainer, pl_module)
        if self._live:
            self._live.update(self._picture(trainer, numbers), refresh=True)
        else:
            line = [self._place(trainer), *numbers, self._time_left(trainer)]
            self.console.print("  ".join(filter(None, line)), soft_wrap=True, highlight=False, markup=False)
            self._wait = min(max(LINE_EVERY, self._pace.elapsed / LINES_AN_AGE), LINE_AT_LEAST)
        self._shown = time.monotonic()

    def _picture(self, trainer: L.Trainer, numbers: list[str]) -> Group:
        """Return the two lines for a terminal, truncated to its width."""
        place, left = self._place(trainer), self._time_left(trainer)
        room = self.console.width - len(place) - len(left) - 4
        line = Table.grid(padding=(0, 2, 0, 0))
        cells = [Text(place, no_wrap=True, overflow="ellipsis"), Text(left, style="cyan", no_wrap=True)]
        if room >= 5:
            cells.insert(1, ProgressBar(total=1.0, completed=self._share(trainer), width=min(room, WIDEST_BAR)))  # type: ignore[arg-type]
        line.add_row(*cells)
        return Group(line, Text("  ".join(numbers), no_wrap=True, overflow="ellipsis"))

    def _place(self, trainer: L.Trainer) -> str:
        """Return the current epoch and step as text."""
        epochs = trainer.max_epochs if trainer.max_epochs not in (None, -1) else None
        epoch = f"epoch {trainer.current_epoch + 1}" + (f"/{epochs}" if epochs else "")
        if not math.isfinite(self._total):
            return f"{epoch}  step {trainer.global_step:,}"
        total = f"{int(self._total):,}"
        return f"{epoch}  step {trainer.global_step:>{len(total)},}/{total}"

    def _share(self, trainer: L.Trainer) -> float:
        """Return the completed fraction of the run, or of the epoch if the run has no known end."""
        if math.isfinite(self._total):
            return trainer.global_step / max(1.0, self._total)
        return batches_of_epoch(trainer) / max(1, trainer.num_training_batches)

    def _numbers(self, trainer: L.Trainer, pl_module: Any) -> list[str]:
        """Return losses, best value and speed as text, as far as known."""
        # Right after a validation there is no new step: show the previous mean.
        training = pl_module.train_results() or pl_module.results.get("train")
        monitor, value, best = monitored(trainer, pl_module)
        speed = self._pace.items_a_second
        words = [f"loss {number(training['loss'])}"] if training else []
        if value is not None:
            words.append(f"{monitor} {number(value)}")
        if best:
            words.append(f"best {best}")
        if speed is not None:
            speed *= trainer.world_size
            words.append(f"{speed:,.{0 if speed >= 10 else 1}f} {self._unit}/s")
        return words

    def _time_left(self, trainer: L.Trainer) -> str:
        """Return the remaining time of epoch and run as text; empty before there is an estimate."""
        if self._validating:
            return "validating {}/{}".format(*self._validating)
        batches, accumulated = trainer.num_training_batches, trainer.accumulate_grad_batches
        of_epoch, steps = (batches - batches_of_epoch(trainer)) / accumulated, self._total - trainer.global_step
        epoch, _ = self._pace.left(of_epoch) if of_epoch < steps else (None, False)  # the last epoch ends with the run
        run, exact = self._run_left(trainer, steps)
        words = []
        if epoch is not None and (self._pace.seconds_a_step or 0.0) * batches / accumulated >= LONG_EPOCH:
            words.append(f"epoch {clock_time(epoch)}")
        if run is not None and math.isfinite(run):
            words.append(("run " if words else "") + ("" if exact else "at least ") + clock_time(run))
        return f"{', '.join(words)} left" if words else ""

    def _run_left(self, trainer: L.Trainer, steps: float) -> tuple[float | None, bool]:
        """Return the remaining seconds of the run as ``Pace.left`` does, limited by ``trainer.max_time``."""
        between = validated_every(trainer)
        validations = steps / between if between else 0
        run, exact = self._pace.left(steps, math.ceil(validations) if math.isfinite(validations) else validations)
        for timer in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(timer, Timer) and (rest := timer.time_remaining()) is not None and rest <= (run or math.inf):
                return rest, True
        return run, exact


def monitored(trainer: L.Trainer, pl_module: Any) -> tuple[str, float | None, str]:
    """Return the monitored metric, its current value, and its best value with epoch or step."""
    keeper = next((part for part in trainer.callbacks if isinstance(part, Checkpoints)), None)  # type: ignore[attr-defined]
    if keeper is None:
        return "", None, ""
    split, _, metric = keeper.monitor.partition("/")
    value, best = pl_module.results.get(split, {}).get(metric), keeper.best
    if value is not None and keeper.improves(value):  # the checkpoint callback runs after the display
        best = {"value": value, "epoch": trainer.current_epoch, "step": trainer.global_step}
    if best["step"] is None:
        return keeper.monitor, value, ""
    where = f"epoch {best['epoch'] + 1}" if trainer.check_val_every_n_epoch else f"step {best['step']:,}"
    return keeper.monitor, value, f"{number(best['value'])} ({where})"


def validated_every(trainer: L.Trainer) -> float:
    """Return the optimiser steps between validations; 0 if there are none, or they depend on time."""
    batches, every = trainer.val_check_batch, trainer.check_val_every_n_epoch
    if not trainer.enable_validation or batches is None or not any(trainer.num_val_batches or [1]):
        return 0
    if every is not None:
        batches = min(batches, trainer.num_training_batches) * every
    return batches / trainer.accumulate_grad_batches
