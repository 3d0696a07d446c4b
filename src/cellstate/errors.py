"""The errors that a user can cause: one line each, saying what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Sequence
from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class CellstateError(Exception):
    """A failure with a message meant for the user; the command line prints it without a traceback."""

    exit_status = 1

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


class RequestError(CellstateError):
    """The request was wrong: a value, a name, a path or a file that the user gave."""

    exit_status = 2


class UnsupportedError(RequestError):
    """A model does not offer what was asked of it, in words that follow ``holds`` and the file that it came from."""


class RunError(CellstateError):
    """The work itself failed: training diverged, the disk is full, a result could not be reproduced."""


class NotWrittenError(RunError):
    """The disk is full, or cannot be written: what was asked for is not to blame."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest of the known names, else the known names themselves."""
    names = sorted(map(str, known))
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if nearest:
        return f"; did you mean '{nearest[0]}'?"
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"; there are: {shown}" if names else ""


def not_written(path: Path | str, error: OSError, note: str = "") -> NotWrittenError:
    """Return the failure to write a file of a run, ``note`` being what is left of what stood there before."""
    remedy = "free some space" if error.errno in FULL else "check the disk and its permissions"
    return NotWrittenError(f"{path}: cannot be written ({error.strerror or error}){note}; {remedy} and try again")


def no_run_folder(path: Path | str, error: OSError, key: str = "hydra.run.dir") -> CellstateError:
    """Return why a run folder cannot be made: the disk is full, or the user named, with ``key``, a place for none."""
    if error.errno in FULL:
        return not_written(path, error)
    return RequestError(f"{key}={path}: no run can be written there ({error.strerror or error}); name another folder")
