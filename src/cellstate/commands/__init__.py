"""The commands: a module each, which is registered by being here.

The first line of a module's docstring names the command and says what it does. Its ``run`` takes the words that follow
the command's name, and returns the exit status: a function, or a ``config.command.Command`` made of a signature. A
command is imported when it is asked for; the list of them is read off the files.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

FIRST = ("train", "evaluate", "predict")  # what people look for; the others follow


def summaries() -> dict[str, str]:
    """Return name -> what it does, for every command."""
    files = {file.stem: file for folder in __path__ for file in Path(folder).glob("[!_]*.py")}
    names = [name for name in FIRST if name in files] + sorted(files.keys() - set(FIRST))
    return {name: summary(files[name]) for name in names}


def summary(file: Path) -> str:
    """Return what the first line of a command's module says of it."""
    with file.open(encoding="utf-8") as lines:
        return next(lines).partition("``: ")[2].strip().rstrip('."')


def load(name: str) -> Any:
    """Return the module of a command."""
    return import_module(f"{__name__}.{name}")


def find(name: str) -> Callable[[list[str]], int | None]:
    """Return what runs a command."""
    return load(name).run
