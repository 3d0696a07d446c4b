"""Rewrite the words of a command line before Hydra parses them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cellstate.config.application import parse


def with_key(words: list[str], key: str) -> list[str]:
    """Return the words with ``key=`` prepended to the first that is neither an option nor KEY=VALUE."""
    alone = next((word for word in parse(words).overrides if "=" not in word), None)
    return [f"{key}={word}" if word == alone else word for word in words]


def verbatim(words: Sequence[str], key: str) -> list[str]:
    """Return the words with the value of ``key=VALUE`` quoted, so that Hydra takes it literally.

    Its grammar would parse a comma as a sweep and 1e3 as a number, and reject most punctuation. Values that are already
    quoted, and the choices of a sweep (``-m``), are left unchanged.
    """
    sweeps = any(word in ("-m", "--multirun") for word in words)
    return [
        f"{key}={quoted(word.removeprefix(f'{key}='))}"
        if word.startswith(f"{key}=") and not sweeps and not is_quoted(word.removeprefix(f"{key}="))
        else word
        for word in words
    ]


def is_quoted(value: str) -> bool:
    """Whether a value starts and ends with the same quote, or is the word null."""
    return value == "null" or (len(value) > 1 and value[0] == value[-1] and value[0] in "'\"")


def quoted(value: str) -> str:
    """Return a value in Hydra's single quotes, with quotes and interpolations escaped by a backslash.

    Backslashes before these, and before the closing quote, are doubled; all others are literal.
    """
    for special in ("${", "'"):
        value = re.sub(rf"(\\*){re.escape(special)}", lambda found, end=special: rf"{found[1] * 2}\{end}", value)
    ending = len(value) - len(value.rstrip("\\"))
    return f"'{value}" + "\\" * ending + "'"
