"""``cellstate generate``: write text with a trained language model."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from cellstate.config import options
from cellstate.config.command import command


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


@command(
    'checkpoint=FILE [prompt="To be"] [length=500] [temperature=0.8] [output=FILE]',
    rewrite=lambda words: verbatim(words, "prompt"),
)
def run(
    checkpoint: options.Checkpoint,
    *,
    prompt: options.Prompt = None,
    length: options.TextLength = 500,
    temperature: options.Temperature = 1.0,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    seed: options.TextSeed = 0,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    trust: options.Trust = (),
) -> None:
    """Write text with a trained language model, to the screen or to a file."""
    from cellstate.runs.writing import output_path, write_whole
    from cellstate.scoring.session import asking, open_checkpoint

    file = None if output is None else output_path(str(output), overwrite=overwrite)
    model = open_checkpoint(checkpoint, trust=trust).model()
    with asking(checkpoint):
        written = model.generate(prompt, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    text = (prompt or "") + written
    if file is not None:
        write_whole(file, lambda draft: draft.write_bytes(text.encode()))
        return
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
