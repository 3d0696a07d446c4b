"""``cellstate generate``: write text with a trained language model."""

from __future__ import annotations

import sys

from cellstate.config import options
from cellstate.config.command import command
from cellstate.config.words import verbatim


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
