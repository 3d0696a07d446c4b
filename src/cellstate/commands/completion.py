"""Shell completion: of the command's name by us, of its keys and values by Hydra."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from pathlib import Path

from cellstate.cli import COMMANDS
from cellstate.config.application import run_application
from cellstate.errors import RequestError

SUBCOMMANDS = ("install", "uninstall", "query")
HYDRA_COMMANDS = tuple(name for name in COMMANDS if name not in ("list", "sync"))
FILE_KEYS = re.compile(r"(checkpoint|folder|input|output|prompt_file|(.*[._])?path)=(?P<begun>.*)")


def run(words: list[str]) -> int:
    """Answer ``cellstate -sc install=SHELL`` and the ``query=SHELL`` that the installed completion sends."""
    if not any(word.partition("=")[0].rpartition(" ")[2] in SUBCOMMANDS and "=" in word for word in words):
        raise RequestError("-sc: write -sc install=SHELL or -sc uninstall=SHELL, SHELL being bash, zsh or fish")
    if not any(word.startswith("query=") or "query=" in word for word in words):
        return _with_plain_name(words)
    line = os.environ.get("COMP_LINE", "")
    typed = line.split()[1:]
    if not typed or (len(typed) == 1 and not line.endswith(" ")):
        print(" ".join(name for name in COMMANDS if name.startswith(typed[0] if typed else "")))
        return 0
    if not line.endswith(" ") and (match := FILE_KEYS.fullmatch(typed[-1])):
        print("\n".join(typed[-1][: match.start("begun")] + name for name in files(match["begun"])))
        return 0
    if typed[0] == "report" and len(typed) == 2 and not line.endswith(" ") and (found := files(typed[1])):
        print("\n".join(found))
        return 0
    if typed[0] in HYDRA_COMMANDS:
        # Hydra takes the first word for the program and completes what follows.
        rest = line.split(typed[0], 1)[1]
        os.environ["COMP_LINE"] = f"{line.split()[0]}{rest}"
        return run_application(typed[0], import_module(f"cellstate.commands.{typed[0]}").task, words)
    return 0


def files(begun: str) -> list[str]:
    """Return the files and folders whose path begins like that; Hydra itself offers them only after ``./`` or ``/``."""
    folder, _, start = begun.rpartition("/")
    place = Path(folder or ("/" if begun.startswith("/") else "."))
    try:
        there = sorted(place.iterdir())
    except OSError:  # no such folder: there is nothing to offer
        return []
    prefix = begun[: len(begun) - len(start)]
    return [
        prefix + entry.name + ("/" if entry.is_dir() else "")
        for entry in there
        if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith("."))
    ]


def _with_plain_name(words: list[str]) -> int:
    import cellstate.commands.train as train
    import cellstate.config.application as application

    # The installed script must call the program by its own name, not by "cellstate train".
    return application.run_application("train", train.task, words, program=sys.argv[0])
