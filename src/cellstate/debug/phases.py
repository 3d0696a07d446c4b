"""Time the parts of a training step through Lightning's profiler hooks."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.profiler import record_function

from cellstate.debug.profiler import NoProfiler

FRAMEWORK = "framework"  # the remainder: Lightning's loops and hooks
# Suffix of the action name -> part of the step, in order.
PARTS = {
    ".train_dataloader_next": "data",
    ".batch_to_device": "data",
    ".transfer_batch_to_device": "data",
    ".on_before_batch_transfer": "data",
    ".on_after_batch_transfer": "data",
    ".training_step": "forward and loss",
    ".backward": "backward",
    ".configure_gradient_clipping": "gradient clipping",
    ".optimizer_step": "optimizer",
    ".optimizer_zero_grad": "optimizer",
    ".lr_scheduler_step": "optimizer",
}
CALLBACKS = "callbacks"
ORDER = (*dict.fromkeys(PARTS.values()), CALLBACKS, FRAMEWORK)


class Phases(NoProfiler):
    """Times the parts of steps, or names them for torch's profiler; does nothing while it is off.

    The time of an action excludes nested actions, so that the parts add up to the total.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        self.device = device or torch.device("cpu")
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.total = 0.0
        self.timing = self.naming = False
        self._began = 0.0
        self._open: list[tuple[str, float, float]] = []  # part, start, seconds of nested actions
        self._named: list[Any] = []

    def begin(self) -> None:
        """Start timing."""
        self.timing, self._began = True, self.now()

    def end(self) -> None:
        """Stop timing, and assign the remainder to the framework."""
        self.timing = False
        self.total += self.now() - self._began
        self.seconds[FRAMEWORK] = 0.0
        self.seconds[FRAMEWORK] = self.total - sum(self.seconds.values())
        self._open.clear()

    def now(self) -> float:
        """Return the time after synchronising the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def profile(self, action_name: str) -> AbstractContextManager[Any]:
        """Return a context manager for an action."""
        if not (self.timing or self.naming):
            return self._nothing
        return _Action(self, action_name) if part_of(action_name) != FRAMEWORK else self._nothing

    def start(self, action_name: str) -> None:
        """Start an action."""
        if self.timing:
            self._open.append((part_of(action_name), self.now(), 0.0))
        elif self.naming:
            self._named.append(record_function(part_of(action_name)))
            self._named[-1].__enter__()

    def stop(self, action_name: str) -> None:  # noqa: ARG002
        """End the innermost action, unless it started before the timing."""
        if self.timing and self._open:
            part, began, within = self._open.pop()
            took = self.now() - began
            self.seconds[part] += took - within
            if self._open:
                part, began, inner = self._open[-1]
                self._open[-1] = part, began, inner + took
        elif self._named:
            self._named.pop().__exit__(None, None, None)


class _Action:
    def __init__(self, phases: Phases, name: str) -> None:
        self.phases, self.name = phases, name

    def __enter__(self) -> None:
        self.phases.start(self.name)

    def __exit__(self, *_: object) -> None:
        self.phases.stop(self.name)


def part_of(action: str) -> str:
    """Return the part of a step of a Lightning action."""
    if action.startswith("[Callback]"):
        return CALLBACKS
    return next((part for ending, part in PARTS.items() if action.endswith(ending)), FRAMEWORK)
