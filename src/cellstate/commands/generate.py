"""``cellstate generate``: write text with a trained language model."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Annotated, TypedDict

from omegaconf import DictConfig
from pydantic import Field

from cellstate.config.application import run_application
from cellstate.config.types import NonNegativeFloat, NonNegativeInt, PositiveInt
from cellstate.errors import RequestError


class Options(TypedDict):
    """The command's own keys."""

    checkpoint: str | None
    prompt: str | None
    length: NonNegativeInt
    temperature: NonNegativeFloat
    top_k: PositiveInt | None
    top_p: NonNegativeFloat | None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)]
    output: str | None
    overwrite: bool
    trust: str | Sequence[str]


def run(words: list[str]) -> int:
    """Run the command."""
    return run_application("generate", task, verbatim(words, "prompt"))


def task(config: DictConfig) -> None:
    """Write the prompt and what the model makes follow it, to the screen or a file."""
    from cellstate.config.check import check_values

    check_values(config, Options)
    if config.checkpoint is None:
        raise RequestError("checkpoint: a value is needed, give checkpoint=FILE or checkpoint=RUN_FOLDER")
    from cellstate.runs.writing import output_path, write_whole
    from cellstate.scoring.session import asking, open_checkpoint

    file = None if config.output is None else output_path(config.output, overwrite=config.overwrite)
    model = open_checkpoint(config.checkpoint, trust=config.trust).model()
    with asking(config.checkpoint):
        written = model.generate(
            config.prompt,
            config.length,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            seed=config.seed,
        )
    text = (config.prompt or "") + written
    if file is not None:
        write_whole(file, lambda draft: draft.write_bytes(text.encode()))
        return
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def verbatim(words: Sequence[str], key: str) -> list[str]:
    """Return the words with the value of ``key=VALUE`` put into quotes, so that Hydra takes it as it stands.

    Its grammar would read a comma as a sweep, 1e3 as a number, and refuse most punctuation. A value that stands in
    quotes already is left to that grammar, and so are the choices of a sweep (``-m``).
    """
    sweeps = any(word in ("-m", "--multirun") for word in words)
    return [
        f"{key}={quoted(word.removeprefix(f'{key}='))}"
        if word.startswith(f"{key}=") and not sweeps and not stands_in_quotes(word.removeprefix(f"{key}="))
        else word
        for word in words
    ]


def stands_in_quotes(value: str) -> bool:
    """Return whether a value begins and ends with the same quote, or is the word null."""
    return value == "null" or (len(value) > 1 and value[0] == value[-1] and value[0] in "'\"")


def quoted(value: str) -> str:
    """Return a value in Hydra's single quotes: what would end them or begin an interpolation has a backslash before it.

    The backslashes that stand before such a place, or before the closing quote, are doubled; all others count as one.
    """
    for special in ("${", "'"):
        value = re.sub(rf"(\\*){re.escape(special)}", lambda found, end=special: rf"{found[1] * 2}\{end}", value)
    ending = len(value) - len(value.rstrip("\\"))
    return f"'{value}" + "\\" * ending + "'"
