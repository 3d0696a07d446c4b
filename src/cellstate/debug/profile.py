"""Where does the time go? The parts of a training step, and PyTorch's profiler for its operators."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
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
from cellstate.runs.writing import csv_text

BEFORE_TRACE = 3  # warm-up steps of torch's profiler, which are discarded


class Profile(Preset):
    """Times training steps, times their parts, and traces a few; writes tables and a trace.

    In this order: ``warm_up`` steps that are not timed, complete steps (the rest of ``trainer.max_steps``), ``apart``
    steps timed in parts, and ``traced`` steps with PyTorch's profiler, which slows small operations down and is only
    used for operators.
    """

    name: ClassVar[str] = "profile"
    scores_splits: ClassVar[bool] = False

    def __init__(self, *, warm_up: PositiveInt = 20, apart: PositiveInt = 50, traced: PositiveInt = 5) -> None:
        self.phases = Phases()
        self.watch = Stretches(self.phases, warm_up, apart, traced)

    def check(self, trainer: L.Trainer, *, again: bool) -> None:
        """Reject runs with too few steps and resumed runs."""
        if again:
            raise RequestError("debug=profile: cannot be resumed; start a new run")
        least = self.watch.warm_up + self.watch.apart + self.watch.traced + BEFORE_TRACE + 1
        if trainer.max_steps < least:
            raise RequestError(f"trainer.max_steps={trainer.max_steps}: debug=profile needs at least {least} steps")
        self.phases.device = trainer.strategy.root_device

    def callbacks(self) -> list[L.Callback]:
        """Return the callback that switches the timing."""
        return [self.watch]

    def profiler(self) -> Profiler:
        """Return the profiler that times the parts."""
        return self.phases

    def record(self) -> dict[str, Any]:
        """Return the time of a step and of its parts in milliseconds."""
        return self.watch.record()

    def finish(self, folder: Path, *, quiet: bool) -> None:
        """Write ``profile/`` and print its tables."""
        if not self.watch.operators:  # not the first process
            return
        place = folder / "profile"
        shown = tables(self.watch.record(), self.watch.operators)
        try:
            place.mkdir(exist_ok=True)
            self.watch.export(place / "trace.json.gz")
            parts, operators = part_rows(self.watch.record()), operator_rows(self.watch.operators)
            for name, rows in (("step", parts), ("operators", operators)):
                (place / f"{name}.csv").write_text(csv_text(rows), encoding="utf-8", newline="")
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
            files = "tables.txt, step.csv, operators.csv, trace.json.gz (open in ui.perfetto.dev)"
            console.print(f"          {files}", soft_wrap=True)


class Stretches(L.Callback):
    """Switches timing and tracing on and off in the first process."""

    def __init__(self, phases: Phases, warm_up: int, apart: int, traced: int) -> None:
        self.phases, self.warm_up, self.apart, self.traced = phases, warm_up, apart, traced
        self.operators: list[Operator] = []
        self.step_seconds = 0.0  # seconds of a complete step
        self.items, self.unit = 0.0, "samples"  # per step, of all processes
        self._torch: profile | None = None
        self._seen = self._seen_before = 0
        self._step, self._began = -1, 0.0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Switch to the next stretch if it is due."""
        self._seen += items_of(batch)
        if not trainer.is_global_zero or trainer.global_step == self._step:  # accumulating gradients
            return
        self._step = step = trainer.global_step
        tracing = trainer.max_steps - self.traced - BEFORE_TRACE
        if step == self.warm_up:
            self._began, self._seen_before = self.phases.now(), self._seen
        if step == tracing - self.apart:
            steps = step - self.warm_up
            self.step_seconds = (self.phases.now() - self._began) / steps
            self.items = trainer.world_size * (self._seen - self._seen_before) / steps
            self.unit = unit_of(batch)
            self.phases.begin()
        if step == tracing:
            self.phases.end()
            self._trace()
        elif self._torch is not None:
            with without_messages():
                self._torch.step()
            if step == trainer.max_steps - 1:
                self._end_trace()

    def _trace(self) -> None:
        activities = [ProfilerActivity.CPU]
        if self.phases.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        plan = schedule(wait=0, warmup=BEFORE_TRACE - 1, active=self.traced, repeat=1)
        self._torch = profile(activities=activities, schedule=plan, acc_events=True)
        with without_messages():
            self._torch.start()
        self.phases.naming = True

    def _end_trace(self) -> None:
        assert self._torch is not None
        self.phases.naming = False
        with without_messages():
            self._torch.stop()
        self.operators = operators_of(self._torch.key_averages(), self.traced)

    def record(self) -> dict[str, Any]:
        """Return the time of a step and its parts in milliseconds, and samples or tokens a second."""
        steps = max(1, self.apart)
        parts = {part: 1e3 * seconds / steps for part, seconds in self.phases.seconds.items()}
        speed = self.items / self.step_seconds if self.step_seconds else 0.0
        return {"step_ms": 1e3 * self.step_seconds, f"{self.unit}_per_second": speed, "parts_ms": parts}

    def export(self, path: Path) -> None:
        """Write the trace in the format of Chrome's trace viewer and Perfetto."""
        assert self._torch is not None
        self._torch.export_chrome_trace(str(path))


@contextmanager
def without_messages() -> Iterator[None]:
    """Hide the start and stop messages that torch 2.13's profiler always writes to stderr."""
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
