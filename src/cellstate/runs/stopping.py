"""Graceful stop: Ctrl-C and SIGTERM are recorded and take effect at the next safe point."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 20.0  # seconds that a validation may delay a stop; job schedulers kill after 30 or more


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[bool]:
    """Handle the signals inside with ``handler``; yields False outside of the main thread, where that is impossible."""
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield True
    finally:
        for number, original in before.items():
            signal.signal(number, original)


@contextmanager
def interruptible(message: str = "") -> Iterator[None]:
    """Let Ctrl-C and SIGTERM interrupt the code inside at once; for code that has nothing to save.

    Args:
        message: message of the interruption.

    Raises:
        KeyboardInterrupt: a signal was received.
    """

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt(*([message] if message else []))

    with handling(stop):
        yield


class Stopped(BaseException):
    """Training has stopped on request. Unlike KeyboardInterrupt, Lightning passes it on."""


class StopRequest:
    """A request to stop this process."""

    def __init__(self) -> None:
        self.signal: str | None = None  # SIGINT, SIGTERM or "prune"
        self.pruned: str | None = None  # the reason, if a search pruned the run
        self._requested = 0.0
        self._listening = False

    def prune(self, reason: str) -> None:
        """Request the run to stop for good, without resuming."""
        self.signal, self.pruned, self._requested = "prune", reason, time.monotonic()

    @property
    def overdue(self) -> bool:
        """Whether the stop has been pending for too long."""
        return self.signal is not None and time.monotonic() - self._requested > PATIENCE

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record signals while the code inside runs; a second Ctrl-C takes effect at once."""
        with handling(self._note) as self._listening:
            try:
                yield
            finally:
                self._listening = False

    def listen_alone(self) -> None:
        """Restore the handlers that Lightning replaced, which end an epoch on SIGTERM before it can be saved."""
        if self._listening:
            for number in SIGNALS:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.signal is not None and self.pruned is None and number == signal.SIGINT:
            raise Stopped
        self.pruned = None  # a run stopped by a signal can be resumed
        self.signal, self._requested = signal.Signals(number).name, time.monotonic()
