"""Errors and warnings for the user: one line each, with what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
import errno
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class CellstateError(Exception):
    """An error with a message for the user; the command line prints it without a traceback."""

    exit_status = 1

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


class RequestError(CellstateError):
    """Invalid input: a value, a name, a path or a file given by the user."""

    exit_status = 2


class UnsupportedError(RequestError):
    """A model does not support the request; the message continues ``FILE: contains``."""


class RunError(CellstateError):
    """A failure at run time: training diverged, the disk is full, a result could not be reproduced."""


class NotWrittenError(RunError):
    """The disk is full, or cannot be written, which is not a problem of the request."""


class CellstateWarning(UserWarning):
    """Something deviated from the request, but the result is valid."""


def warn(line: str) -> None:
    """Issue a one-line CellstateWarning, which ``warnings.filterwarnings`` can hide or turn into an error."""
    warnings.warn(one_line(line), CellstateWarning, stacklevel=2)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each CellstateWarning on stderr as ``cellstate: warning: ...``, every time it occurs."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **further: Any) -> None:
        if issubclass(category, CellstateWarning):
            print(f"cellstate: warning: {message}", file=sys.stderr, flush=True)
        else:
            before(message, category, *where, **further)

    with warnings.catch_warnings():
        before, warnings.showwarning = warnings.showwarning, show
        warnings.simplefilter("always", CellstateWarning)
        yield


def one_line(text: str) -> str:
    """Return a text as one line, with control characters, as in untrusted names, replaced."""
    return "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` with the closest known name, else a list of the known names."""
    names = sorted(map(str, known))
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if nearest:
        return f"; did you mean '{nearest[0]}'?"
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"; available: {shown}" if names else ""


def shortened(names: Sequence[str], most: int = 8) -> str:
    """Return the first of many names and the number of the others."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def not_written(path: Path | str, error: OSError, note: str = "") -> NotWrittenError:
    """Return the error for a file that cannot be written; ``note`` describes what happened to its old content."""
    remedy = "free some space" if error.errno in FULL else "check the disk and its permissions"
    return NotWrittenError(f"{path}: cannot be written ({error.strerror or error}){note}; {remedy} and try again")


def no_run_folder(path: Path | str, error: OSError, key: str = "hydra.run.dir") -> CellstateError:
    """Return the error for a run folder that cannot be created, because the disk is full or ``key`` is invalid."""
    if error.errno in FULL:
        return not_written(path, error)
    return RequestError(f"{key}={path}: no run can be written there ({error.strerror or error}); choose another folder")
