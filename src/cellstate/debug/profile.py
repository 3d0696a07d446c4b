"""Where does its time go? The parts of a training step, and PyTorch's own profiler for what they consist of."""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
from lightning.pytorch.profilers import Profiler
from rich.console import Console
from torch.profiler import ProfilerActivity, profile, schedule

from cellstate.callbacks.pace import items_of, unit_of
from cellstate.config.types import PositiveInt
from cellstate.debug.phases import Phases
from cellstate.debug.preset import Preset
from cellstate.debug.tables import Operator, operator_rows, operators_of, part_rows, tables
from cellstate.errors import RequestError, not_written

BEFORE_TRACE = 3  # steps with torch's profiler on, or being set up, that are not kept: they pay for its own beginning


class Profile(Preset):
    """Times a stretch of training as it is, one in parts, and traces a few steps; then tables and a trace are written.

    One after the other: ``warm_up`` steps that nothing is said of, steps that are timed as a whole (what is left of
    ``trainer.max_steps``), ``apart`` steps that are timed in parts, and ``traced`` steps under PyTorch's profiler. It
    slows small operations down, so no time is taken from it but that of operators.
    """

    name: ClassVar[str] = "profile"
    scores_splits: ClassVar[bool] = False

    def __init__(self, *, warm_up: PositiveInt = 20, apart: PositiveInt = 50, traced: PositiveInt = 5) -> None:
        self.phases = Phases()
        self.watch = Stretches(self.phases, warm_up, apart, traced)

    def check(self, trainer: L.Trainer, *, again: bool) -> None:
        """Refuse a run of too few steps, or one that goes on: its time would be that of two processes."""
        if again:
            raise RequestError("debug=profile: a profile is of one process and does not go on; begin a new one")
        least = self.watch.warm_up + self.watch.apart + self.watch.traced + BEFORE_TRACE + 1
        if trainer.max_steps < least:
            raise RequestError(f"trainer.max_steps={trainer.max_steps}: debug=profile takes {least} steps or more")
        self.phases.device = trainer.strategy.root_device

    def callbacks(self) -> list[L.Callback]:
        """Return what tells the stretches apart."""
        return [self.watch]

    def profiler(self) -> Profiler:
        """Return what times the parts."""
        return self.phases

    def record(self) -> dict[str, Any]:
        """Return the time of a step and of its parts, in milliseconds."""
        return self.watch.record()

    def conclude(self, folder: Path, *, quiet: bool) -> None:
        """Write ``profile/``, and print its tables."""
        if not self.watch.operators:  # another process has them
            return
        place = folder / "profile"
        shown = tables(self.watch.record(), self.watch.operators)
        try:
            place.mkdir(exist_ok=True)
            self.watch.export(place / "trace.json.gz")
            write_csv(place / "step.csv", part_rows(self.watch.record()))
            write_csv(place / "operators.csv", operator_rows(self.watch.operators))
            with (place / "tables.txt").open("w", encoding="utf-8") as file:
                printed = Console(file=file, width=100, highlight=False)
                for part in shown:
                    printed.print(part)
        except OSError as error:
            raise not_written(place, error) from error
        if not quiet:
            console = Console(highlight=False)
            for part in shown:
                console.print(part)
            console.print(f"Profile:  {place}", soft_wrap=True, markup=False)
            files = "tables.txt, step.csv, operators.csv, trace.json.gz (to look at in ui.perfetto.dev)"
            console.print(f"          {files}", soft_wrap=True)


class Stretches(L.Callback):
    """Turns timing and tracing on and off at the steps that are theirs; the first process alone does."""

    def __init__(self, phases: Phases, warm_up: int, apart: int, traced: int) -> None:
        self.phases, self.warm_up, self.apart, self.traced = phases, warm_up, apart, traced
        self.operators: list[Operator] = []
        self.whole = 0.0  # seconds of a step as it is
        self.items, self.unit = 0.0, "samples"  # of all processes, a step
        self._torch: profile | None = None
        self._seen = self._seen_before = 0
        self._step, self._began = -1, 0.0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Begin and end the stretches."""
        self._seen += items_of(batch)
        if not trainer.is_global_zero or trainer.global_step == self._step:  # gradients are being accumulated
            return
        self._step = step = trainer.global_step
        tracing = trainer.max_steps - self.traced - BEFORE_TRACE
        if step == self.warm_up:
            self._began, self._seen_before = self.phases.now(), self._seen
        if step == tracing - self.apart:
            steps = step - self.warm_up
            self.whole = (self.phases.now() - self._began) / steps
            self.items = trainer.world_size * (self._seen - self._seen_before) / steps
            self.unit = unit_of(batch)
            self.phases.begin()
        if step == tracing:
            self.phases.end()
            self._trace()
        elif self._torch is not None:
            with without_notes():
                self._torch.step()
            if step == trainer.max_steps - 1:
                self._end_trace()

    def _trace(self) -> None:
        activities = [ProfilerActivity.CPU]
        if self.phases.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        plan = schedule(wait=0, warmup=BEFORE_TRACE - 1, active=self.traced, repeat=1)
        self._torch = profile(activities=activities, schedule=plan, acc_events=True)
        with without_notes():
            self._torch.start()
        self.phases.naming = True

    def _end_trace(self) -> None:
        assert self._torch is not None
        self.phases.naming = False
        with without_notes():
            self._torch.stop()
        self.operators = operators_of(self._torch.key_averages(), self.traced)

    def record(self) -> dict[str, Any]:
        """Return milliseconds of a step as it is, and of its parts; samples or tokens a second."""
        steps = max(1, self.apart)
        parts = {part: 1e3 * seconds / steps for part, seconds in self.phases.seconds.items()}
        speed = self.items / self.whole if self.whole else 0.0
        return {"step_ms": 1e3 * self.whole, f"{self.unit}_per_second": speed, "parts_ms": parts}

    def export(self, path: Path) -> None:
        """Write the trace as Chrome's trace viewer and Perfetto read it."""
        assert self._torch is not None
        self._torch.export_chrome_trace(str(path))


@contextmanager
def without_notes() -> Iterator[None]:
    """Keep off the screen that torch's profiler begins and ends, which torch 2.13 writes there whatever it is told."""
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(screen, 2)
            os.close(screen)
            file.seek(0)
            others = [line for line in file if not line.startswith(b"USDT:")]
            if others:
                sys.stderr.write(b"".join(others).decode(errors="replace"))


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
