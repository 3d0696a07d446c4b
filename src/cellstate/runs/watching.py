"""Looking on at a run from outside its config, as a search does: told of each validation, it may end the run early."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from cellstate.errors import CellstateError


class PrunedError(CellstateError):
    """The run was given up by whoever looked on, its checkpoints being whole: it did not fail."""


class Watcher(Protocol):
    """Looks on at a run."""

    def give_up(self, validation: int, scores: Mapping[str, float]) -> str | None:
        """Return why to end the run after a validation; None to go on.

        Args:
            validation: its number, from 1 on; the same one may be told again by a run that goes on.
            scores: what it found, such as ``val/loss``.
        """
        ...


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_by(watcher: Watcher | None) -> Iterator[None]:
    """Have ``watcher`` look on at the run inside."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def present_watcher() -> Watcher | None:
    """Return who looks on at the run of this process; None where nobody does."""
    return _watcher.get()
