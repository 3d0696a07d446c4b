"""The command line. Imports nothing heavy: a command's module is loaded when it is asked for."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from cellstate import __version__
from cellstate.commands import find, summaries
from cellstate.errors import CellstateError, did_you_mean, one_line, warnings_as_lines

COMMANDS = summaries()

USAGE = """\
cellstate {version}: recurrent sequence models, every number beside its optimum and its baselines

usage: cellstate COMMAND [key=value ...]

{commands}

  cellstate COMMAND --help     what a command takes
  cellstate COMMAND --cfg job  the config that it would run with
  cellstate -sc install=bash   shell completion: eval "$(cellstate -sc install=bash)" (zsh and fish likewise)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 the work failed, 2 the request was wrong."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    status = dispatch(words)
    try:
        sys.stdout.flush()
    except OSError as error:  # what was printed did not arrive: a full disk, or `cellstate list | head -1`
        if not isinstance(error, BrokenPipeError):
            status = report(f"standard output: cannot be written ({error.strerror})")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again as it ends
    sys.exit(status)


def dispatch(words: list[str]) -> int:
    """Return the exit status of a command line, ``words`` being what follows the program's name."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] in ("-V", "--version"):
        print(__version__)
        return 0
    if words[0] in ("-sc", "--shell-completion") or words[0].startswith("--shell-completion="):
        return run_command("_completion", words)
    if words[0] not in COMMANDS:
        return report(f"{words[0]}: there is no such command{did_you_mean(words[0], COMMANDS)}", status=2)
    return run_command(words[0], words[1:])


def usage() -> str:
    """Return the table of commands."""
    table = "\n".join(f"  {name:10} {what}" for name, what in COMMANDS.items())
    return USAGE.format(version=__version__, commands=table)


def run_command(name: str, words: list[str]) -> int:
    """Run one command; a failure that the user can cause is one line each, a traceback only if asked for."""
    try:
        with warnings_as_lines():
            return find(name)(words) or 0
    except (CellstateError, OSError) as error:
        if os.environ.get("HYDRA_FULL_ERROR", "0") not in ("0", ""):
            traceback.print_exc()
        return fail(error)
    except KeyboardInterrupt as error:
        return report(str(error) or "interrupted")


def fail(error: CellstateError | OSError) -> int:
    """Report a failure, a line for each problem, and return its exit status."""
    if isinstance(error, CellstateError):
        for problem in error.problems:
            report(problem)
        return error.exit_status
    if isinstance(error, BrokenPipeError):  # whoever read the output has seen enough
        return 1
    where = f"{error.filename}: " if error.filename else ""
    return report(f"{where}{error.strerror or error}; free some space, or allow the access, and try again")


def report(problem: str, status: int = 1) -> int:
    """Print one line on stderr, and return the exit status."""
    print(f"cellstate: error: {one_line(problem)}", file=sys.stderr)
    return status
