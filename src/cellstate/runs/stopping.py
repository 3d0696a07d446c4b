"""Being told to stop: Ctrl-C and SIGTERM are noted at once, and obeyed where nothing is half done."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 20.0  # seconds that a long validation may hold up a stop; schedulers kill after 30 or more


@contextmanager
def interruptible(said: str = "") -> Iterator[None]:
    """Have Ctrl-C and SIGTERM end the work inside where it stands: it waits for others, and has nothing to save.

    Args:
        said: with the interruption, on what was interrupted.

    Raises:
        KeyboardInterrupt: a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt(*([said] if said else []))

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stopped(BaseException):
    """Training was told to stop, and did. Lightning lets it pass, where it would end the process on Ctrl-C."""


class StopRequest:
    """Whether this process was told to stop, and how."""

    def __init__(self) -> None:
        self.signal: str | None = None  # SIGINT or SIGTERM
        self.given_up: str | None = None  # why, where nobody sent a signal and the run is to end early
        self._asked = 0.0
        self._listening = False

    def give_up(self, reason: str) -> None:
        """Ask the run to stop for good, as a signal would ask it to be gone on with."""
        self.signal, self.given_up, self._asked = "give up", reason, time.monotonic()

    @property
    def overdue(self) -> bool:
        """Whether the stop has been waiting for too long."""
        return self.signal is not None and time.monotonic() - self._asked > PATIENCE

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take note of the signals while the work inside runs; a second Ctrl-C does not wait.

        Only a process's main thread may listen; in another one nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        self._listening = True
        try:
            yield
        finally:
            self._listening = False
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen_alone(self) -> None:
        """Take the signals from whoever took them since: Lightning ends an epoch on SIGTERM before it can be kept."""
        if self._listening:
            for number in SIGNALS:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.signal is not None and self.given_up is None and number == signal.SIGINT:
            raise Stopped
        self.given_up = None  # whoever sends a signal wants to go on later
        self.signal, self._asked = signal.Signals(number).name, time.monotonic()
