"""The commands, one module each; a module in this package is registered automatically.

The first line of a module's docstring describes the command. Its ``run`` takes the words after the command's name and
returns the exit status: a function, or a ``config.command.Command`` defined by a signature. A command is imported when
it is called; the list of commands is read from the file names.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

FIRST = ("train", "evaluate", "predict")  # the most common ones; the others follow in alphabetical order


def summaries() -> dict[str, str]:
    """Return name -> description, for every command."""
    files = {file.stem: file for folder in __path__ for file in Path(folder).glob("[!_]*.py")}
    names = [name for name in FIRST if name in files] + sorted(files.keys() - set(FIRST))
    return {name: summary(files[name]) for name in names}


def summary(file: Path) -> str:
    """Return the description in the first line of a command's module."""
    with file.open(encoding="utf-8") as lines:
        return next(lines).partition("``: ")[2].strip().rstrip('."')


def load(name: str) -> Any:
    """Return the module of a command."""
    return import_module(f"{__name__}.{name}")


def find(name: str) -> Callable[[list[str]], int | None]:
    """Return the function that runs a command."""
    return load(name).run
