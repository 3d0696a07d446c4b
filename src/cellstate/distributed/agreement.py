"""Deciding alike: what one process was told, or one clock says, is acted on by all at the same step."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
import torch.distributed as dist

from cellstate.distributed.exchange import total_world

EVERY = 1.0  # seconds between two times that processes ask each other, about


class Agreement:
    """Whether any process wants something.

    Asking takes a message between processes, which would stall an accelerator at every step. So they ask about once a
    second: each time they agree on the number of calls until the next, by the slowest of them.
    """

    def __init__(self) -> None:
        self._calls = 0  # since the last time that they asked
        self._wait = 1  # calls until the next time
        self._moment: float | None = None

    def any(self, wishes: Sequence[bool], device: torch.device) -> list[bool]:
        """Return for each wish whether any process has it; between two times of asking, that nobody has.

        All processes must call this equally often. With one process, its own wishes come back at once.
        """
        if total_world() == 1:
            return list(wishes)
        self._calls += 1
        if self._calls < self._wait:
            return [False] * len(wishes)
        now = time.monotonic()
        seconds = 0.0 if self._moment is None else (now - self._moment) / self._calls
        told = torch.tensor([*map(float, wishes), seconds], dtype=torch.float32, device=device)
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        *answers, slowest = told.tolist()
        self._wait = 1 if slowest <= 0 else max(1, min(10_000, int(EVERY / slowest)))
        self._calls, self._moment = 0, time.monotonic()
        return [bool(answer) for answer in answers]
