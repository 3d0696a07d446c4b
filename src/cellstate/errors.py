"""The errors that a user can cause, and the warnings: one line each, saying what is wrong, where, and what to do."""

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
    """A failure with a message meant for the user; the command line prints it without a traceback."""

    exit_status = 1

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


class RequestError(CellstateError):
    """The request was wrong: a value, a name, a path or a file that the user gave."""

    exit_status = 2


class UnsupportedError(RequestError):
    """A model does not offer what was asked of it, in words that follow ``contains`` and the file that it came from."""


class RunError(CellstateError):
    """The work itself failed: training diverged, the disk is full, a result could not be reproduced."""


class NotWrittenError(RunError):
    """The disk is full, or cannot be written: what was asked for is not to blame."""


class CellstateWarning(UserWarning):
    """Something went another way than was asked for, and the result stands."""


def warn(line: str) -> None:
    """Warn in one line, by Python's own means: ``warnings.filterwarnings`` hides it, or makes an error of it."""
    warnings.warn(one_line(line), CellstateWarning, stacklevel=2)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Have each CellstateWarning printed on stderr as ``cellstate: warning: ...``, as often as it comes up."""

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
    """Return a text as one line; what a terminal would take for a command, as a name in a file may be, is left out."""
    return "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))


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
