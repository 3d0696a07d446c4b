"""Shell completion: of command names and file names here, of keys and values by Hydra."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from cellstate.commands import load, summaries, train
from cellstate.config.application import run_application
from cellstate.config.command import Command
from cellstate.errors import RequestError

SUBCOMMANDS = ("install", "uninstall", "query")
PATH_OF_DATA = re.compile(r"(.*[._])?path")  # in the composed configs of train and compare


def run(words: list[str]) -> int:
    """Handle ``cellstate -sc install=SHELL`` and ``query=SHELL``, which the installed completion sends."""
    if not any(word.partition("=")[0].rpartition(" ")[2] in SUBCOMMANDS and "=" in word for word in words):
        raise RequestError("-sc: use -sc install=SHELL or -sc uninstall=SHELL, where SHELL is bash, zsh or fish")
    if not any("query=" in word for word in words):
        # The installed script must call the program by its name, not as "cellstate train".
        return run_application("train", train.task, words, program=sys.argv[0])
    line = os.environ.get("COMP_LINE", "")
    typed = line.split()[1:]
    new_word = line.endswith(" ")
    if not typed or (len(typed) == 1 and not new_word):
        print(" ".join(name for name in summaries() if name.startswith(typed[0] if typed else "")))
        return 0
    if typed[0] not in summaries():
        return 0
    module, word = load(typed[0]), "" if new_word else typed[-1]
    if found := paths(module, word, is_first=len(typed) == 2):
        print("\n".join(found))
        return 0
    if takes_path(module, word.partition("=")[0]) and "=" in word:
        return 0  # no such file, and Hydra does not complete files
    # Hydra treats the first word as the program and completes the rest.
    os.environ["COMP_LINE"] = line.split()[0] + line.split(typed[0], 1)[1]
    return complete(module, typed[0], words)


def complete(module: Any, name: str, words: list[str]) -> int:
    """Let Hydra complete the keys and values of a command that is a Hydra application."""
    if isinstance(module.run, Command):
        return module.run.application(words)
    return run_application(name, module.task, words) if hasattr(module, "task") else 0


def takes_path(module: Any, key: str) -> bool:
    """Whether the value of a key is a file or a folder."""
    if isinstance(module.run, Command):
        return any(option.is_path for option in module.run.options if option.key == key)
    return PATH_OF_DATA.fullmatch(key) is not None


def paths(module: Any, word: str, *, is_first: bool) -> list[str]:
    """Return the paths that complete a word: after ``KEY=``, or a first word that may be a path."""
    key, equals, path = word.partition("=")
    if equals:
        return [f"{key}={name}" for name in files(path)] if takes_path(module, key) else []
    alone = is_first and isinstance(module.run, Command) and not module.run.usage.partition(" [")[0].count("=")
    return files(word) if alone and word else []


def files(path: str) -> list[str]:
    """Return the files and folders that complete a path; Hydra offers them only after ``./`` or ``/``."""
    folder, _, start = path.rpartition("/")
    place = Path(folder or ("/" if path.startswith("/") else "."))
    try:
        there = sorted(place.iterdir())
    except OSError:  # no such folder
        return []
    prefix = path[: len(path) - len(start)]
    return [
        prefix + entry.name + ("/" if entry.is_dir() else "")
        for entry in there
        if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith("."))
    ]
