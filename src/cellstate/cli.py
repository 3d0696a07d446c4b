"""The command table. Imports nothing heavy: a command's module is loaded when it is asked for."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from cellstate import __version__
from cellstate.errors import CellstateError, did_you_mean

COMMANDS = {
    "train": "train a model, test it, and leave a run folder",
    "evaluate": "score a checkpoint again, from nothing but the checkpoint",
    "list": "what experiments, data, models and backbones there are",
}

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
    sys.exit(dispatch(words))


def dispatch(words: list[str]) -> int:
    """Return the exit status of a command line, ``words`` being what follows the program's name."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] in ("-V", "--version"):
        print(__version__)
        return 0
    if words[0] in ("-sc", "--shell-completion") or words[0].startswith("--shell-completion="):
        return import_module("cellstate.commands.completion").run(words)
    if words[0] not in COMMANDS:
        return report(f"{words[0]}: there is no such command{did_you_mean(words[0], COMMANDS)}", status=2)
    return run_command(words[0], words[1:])


def usage() -> str:
    """Return the table of commands."""
    table = "\n".join(f"  {name:10} {what}" for name, what in COMMANDS.items())
    return USAGE.format(version=__version__, commands=table)


def run_command(name: str, words: list[str]) -> int:
    """Run one command; a failure that the user can cause is one line each, a traceback only if asked for."""
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("0", "")
    try:
        return import_module(f"cellstate.commands.{name}").run(words) or 0
    except CellstateError as error:
        if wants_traceback:
            traceback.print_exc()
        for problem in error.problems:
            report(problem)
        return error.exit_status
    except KeyboardInterrupt as error:
        return report(str(error) or "interrupted", status=1)
    except OSError as error:
        if wants_traceback:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        return report(f"{where}{error.strerror or error}; free or allow that and try again", status=1)


def report(problem: str, status: int = 1) -> int:
    """Print one line on stderr."""
    print(f"cellstate: error: {' '.join(problem.split())}", file=sys.stderr)
    return status
