"""``cellstate report``: write the page of a run anew, or that of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from omegaconf import DictConfig

from cellstate.commands.generate import verbatim
from cellstate.config.application import run_application
from cellstate.errors import RequestError


class Options(TypedDict):
    """The command's own keys."""

    folder: str | None
    metric: str | None
    trust: str | Sequence[str]


def run(words: list[str]) -> int:
    """Run the command."""
    return run_application("report", task, verbatim(with_key(words), "folder"))


def with_key(words: list[str]) -> list[str]:
    """Return the words with ``folder=`` before the first one that is neither an option nor KEY=VALUE."""
    for place, word in enumerate(words):
        if not word.startswith("-") and "=" not in word and (place == 0 or not takes_value(words[place - 1])):
            return [*words[:place], f"folder={word}", *words[place + 1 :]]
    return words


def takes_value(option: str) -> bool:
    """Say whether a word of the command line is an option whose value is the next word."""
    return option in ("--cfg", "-c", "--package", "-p", "--info", "-i", "--config-dir", "-cd", "--config-name", "-cn")


def task(config: DictConfig) -> None:
    """Write the page, and say where it lies."""
    from cellstate.config.check import check_values, plain

    check_values(config, Options)
    if config.folder is None:
        raise RequestError("folder: a value is needed; give the folder of a run or a sweep, cellstate report FOLDER")
    from cellstate.report.rebuild import write_report

    changes = {key: value for key, value in config.data.items() if value is not None}
    print(write_report(config.folder, data=changes, metric=config.metric, trust=plain(config.trust)))
