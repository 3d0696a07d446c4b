"""Commands defined by one function: its parameters are the keys, their annotations the types, ranges and descriptions.

The signature determines the config that Hydra composes (``--cfg job``, completion, ``-m``, unknown keys), the checks of
the values, and the help. Annotations shared with functions of the Python API are in ``config/options.py``.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from cellstate.config.application import run_application
from cellstate.config.check import plain
from cellstate.config.options import meaning
from cellstate.config.signatures import shown, value_problems
from cellstate.errors import RequestError, did_you_mean

Words = list[str]


@dataclass(frozen=True)
class Option:
    """One key of a command.

    Attributes:
        key: its name; dotted for a nested key such as ``data.path``.
        annotation: its type and range.
        default: its default value; None for a required key.
        required: whether it has no default.
    """

    key: str
    annotation: Any
    default: Any = None
    required: bool = False

    @property
    def is_path(self) -> bool:
        """Whether it names a file or folder."""
        return names_path(self.annotation)

    @property
    def line(self) -> tuple[str, str]:
        """The key with its default, and its description."""
        if self.required:
            return f"{self.key}=", f"{meaning(self.annotation)} (required)"
        return f"{self.key}={shown(self.default)}", meaning(self.annotation)


@dataclass(frozen=True)
class Command:
    """A function as a command.

    Attributes:
        function: called with the checked values; the first paragraph of its docstring is shown in the help.
        usage: arguments in the usage line, including all required keys.
        examples: lines at the end of the help.
        rewrite: transforms the words of a command line before Hydra parses them.
    """

    function: Callable[..., None]
    usage: str
    examples: tuple[str, ...] = ()
    rewrite: Callable[[Words], Words] = field(default=list)

    def __call__(self, words: Words) -> int:
        """Run the command; return its exit status."""
        return self.application(self.rewrite(words))

    def application(self, words: Words) -> int:
        """Pass words to Hydra unchanged, as for completion."""
        ConfigStore.instance().store(name=self.name, node=self.config(), provider="cellstate")
        return run_application(self.name, self.task, words)

    @property
    def name(self) -> str:
        """Name of the command and of its module."""
        return self.function.__module__.rpartition(".")[2]

    @property
    def usage_line(self) -> str:
        """The whole command, as it is typed."""
        return f"cellstate {self.name} {self.usage}"

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """The keys, in the order of the signature."""
        return tuple(options_of(self.function))

    def config(self) -> dict[str, Any]:
        """Return the primary config."""
        values: dict[str, Any] = {}
        for option in self.options:
            *sections, last = option.key.split(".")
            node = values
            for section in sections:
                node = node.setdefault(section, {})
            node[last] = option.default
        hydra = {"output_subdir": None, "run": {"dir": "."}, "help": self.help()}
        return {"defaults": ["_self_", {"override hydra/job_logging": "none"}], **values, "hydra": hydra}

    def help(self) -> dict[str, str]:
        """Return Hydra's group ``hydra/help``."""
        header = " ".join((inspect.getdoc(self.function) or "").split("\n\n")[0].split())
        lines = [option.line for option in self.options]
        width = max(len(key) for key, _ in lines) + 2
        table = [
            textwrap.fill(
                text, shutil.get_terminal_size((120, 24)).columns, break_long_words=False, break_on_hyphens=False,
                initial_indent=f"  {key:{width}}", subsequent_indent=" " * (width + 2),
            )
            for key, text in lines
        ]  # fmt: skip
        parts = [header, f"usage: {self.usage_line}", "\n".join(table), "\n".join(self.examples)]
        template = "\n\n".join(part for part in parts if part).replace("$", "$$")  # of string.Template
        return {"app_name": f"cellstate {self.name}", "header": header, "footer": "", "template": template}

    def task(self, config: DictConfig) -> None:
        """Check all values, and call the function."""
        values: dict[str, Any] = plain(config)
        self.check(values)
        sections = {option.key.partition(".")[0] for option in self.options if "." in option.key}
        given = {
            key: {name: part for name, part in value.items() if part is not None} if key in sections else value
            for key, value in values.items()
        }
        self.function(**given)

    def check(self, values: Mapping[str, Any]) -> None:
        """Check values against the options (RequestError)."""
        flat = dict(flattened(values, {option.key for option in self.options}))
        known = {option.key: option for option in self.options}
        problems = [f"{key}: unknown key{did_you_mean(key, known)}" for key in flat if key not in known]
        missing = [key for key, option in known.items() if option.required and flat.get(key) is None]
        if missing:
            what = f": {meaning(known[missing[0]].annotation)}" if len(missing) == 1 else ""
            problems.append(f"{', '.join(missing)}: required{what}; {self.usage_line.partition(' [')[0]}")
        for key, option in known.items():
            if key not in missing and key in flat:
                problems += value_problems(key, flat[key], option.annotation)
        if problems:
            raise RequestError(*problems)


def command(usage: str, *examples: str, rewrite: Callable[[Words], Words] = list) -> Callable[..., Command]:
    """Return a decorator that turns a function into a ``Command``."""
    return lambda function: Command(function, usage, examples, rewrite)


def options_of(function: Callable[..., None]) -> Iterator[Option]:
    """Yield a function's parameters as options; a TypedDict yields an option for each of its keys."""
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if typing.is_typeddict(hints[name]):
            for key, annotation in typing.get_type_hints(hints[name], include_extras=True).items():
                yield Option(f"{name}.{key}", annotation)
        elif parameter.default is parameter.empty:
            yield Option(name, hints[name], required=True)
        else:
            default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
            yield Option(name, hints[name], default)


def names_path(annotation: Any) -> bool:
    """Whether a type is ``Path`` or a union with it."""
    return annotation is Path or any(map(names_path, typing.get_args(annotation)))


def flattened(values: Mapping[str, Any], known: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key -> value, down to the known keys."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key not in known:
            yield from flattened(value, known, f"{key}.")
        else:
            yield key, value
