"""The command line. Imports nothing heavy: the module of a command is loaded when it is called."""

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
cellstate {version}: recurrent sequence models, every metric with its optimum and baselines

usage: cellstate COMMAND [key=value ...]

{commands}

  cellstate COMMAND --help     show the options of a command
  cellstate COMMAND --cfg job  show the config of a command without running it
  cellstate -sc install=bash   shell completion: eval "$(cellstate -sc install=bash)" (also zsh and fish)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 success, 1 failure, 2 invalid request."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    status = dispatch(words)
    try:
        sys.stdout.flush()
    except OSError as error:  # a full disk, or a closed pipe as in `cellstate list | head -1`
        if not isinstance(error, BrokenPipeError):
            status = report(f"standard output: cannot be written ({error.strerror})")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python reports it again at exit
    sys.exit(status)


def dispatch(words: list[str]) -> int:
    """Run a command line, given without the program's name, and return its exit status."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] in ("-V", "--version"):
        print(__version__)
        return 0
    if words[0] in ("-sc", "--shell-completion") or words[0].startswith("--shell-completion="):
        return run_command("_completion", words)
    if words[0] not in COMMANDS:
        return report(f"{words[0]}: unknown command{did_you_mean(words[0], COMMANDS)}", status=2)
    return run_command(words[0], words[1:])


def usage() -> str:
    """Return the table of commands."""
    table = "\n".join(f"  {name:10} {what}" for name, what in COMMANDS.items())
    return USAGE.format(version=__version__, commands=table)


def run_command(name: str, words: list[str]) -> int:
    """Run one command; report user errors in one line each, with a traceback only if HYDRA_FULL_ERROR is set."""
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
    if isinstance(error, BrokenPipeError):  # the reader has closed the pipe
        return 1
    where = f"{error.filename}: " if error.filename else ""
    return report(f"{where}{error.strerror or error}; free some space or fix the permissions, and try again")


def report(problem: str, status: int = 1) -> int:
    """Print one line on stderr, and return the exit status."""
    print(f"cellstate: error: {one_line(problem)}", file=sys.stderr)
    return status
