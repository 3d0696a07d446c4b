"""Agreement between processes, so that all act on a request of one at the same step."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
import torch.distributed as dist

from cellstate.distributed.exchange import total_world

EVERY = 1.0  # approximate seconds between two exchanges


class Agreement:
    """Whether any process has a request.

    An exchange at every step would stall an accelerator, so processes communicate about once a second: each time they
    agree on the number of calls until the next exchange, by the slowest process.
    """

    def __init__(self) -> None:
        self._calls = 0  # since the last exchange
        self._wait = 1  # calls until the next exchange
        self._moment: float | None = None

    def any(self, requests: Sequence[bool], device: torch.device) -> list[bool]:
        """Return for each request whether any process has it; False between exchanges.

        All processes must call this equally often. A single process gets its own requests back at once.
        """
        if total_world() == 1:
            return list(requests)
        self._calls += 1
        if self._calls < self._wait:
            return [False] * len(requests)
        now = time.monotonic()
        seconds = 0.0 if self._moment is None else (now - self._moment) / self._calls
        values = torch.tensor([*map(float, requests), seconds], dtype=torch.float32, device=device)
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
        *answers, slowest = values.tolist()
        self._wait = 1 if slowest <= 0 else max(1, min(10_000, int(EVERY / slowest)))
        self._calls, self._moment = 0, time.monotonic()
        return [bool(answer) for answer in answers]
