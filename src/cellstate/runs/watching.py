"""Observe a run from outside its config: a search receives each validation and may prune the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from cellstate.errors import CellstateError


class PrunedError(CellstateError):
    """The watcher ended the run early, with intact checkpoints; it did not fail."""


class Watcher(Protocol):
    """Observes a run."""

    def give_up(self, validation: int, scores: Mapping[str, float]) -> str | None:
        """Return the reason to end the run after a validation; None to continue.

        Args:
            validation: its number, from 1; a resumed run may report the same one again.
            scores: its scores, such as ``val/loss``.
        """
        ...


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_by(watcher: Watcher | None) -> Iterator[None]:
    """Let ``watcher`` observe the run inside."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def present_watcher() -> Watcher | None:
    """Return the watcher of the run in this process; None if there is none."""
    return _watcher.get()
