"""``cellstate evaluate``: score a checkpoint again, from nothing but the checkpoint."""

from __future__ import annotations

from omegaconf import DictConfig

from cellstate.commands.application import run_application
from cellstate.errors import RequestError, RunError


def run(words: list[str]) -> int:
    """Run the command."""
    return run_application("evaluate", task, words)


def task(config: DictConfig) -> None:
    """Evaluate, print the table, and say whether the recorded numbers came out again."""
    if config.checkpoint is None:
        raise RequestError("checkpoint: a value is needed, give checkpoint=FILE or checkpoint=RUN_FOLDER")
    from rich.console import Console

    from cellstate.api import evaluate
    from cellstate.report.summary import result_table

    changes = {key: value for key, value in config.data.items() if value is not None}
    result = evaluate(config.checkpoint, data=changes)
    console = Console(highlight=False)
    split = "test" if "test" in result.metrics else "val"
    table = {"experiment": result.experiment, "seed": result.seed, "reference": result.reference, "val": {}}
    console.print(result_table({**table, **result.metrics}, split))
    same = len(result.compared) - len(result.differing)
    if not result.compared:
        console.print("nothing to compare with: these weights were saved by an interruption, and never scored before")
    else:
        console.print(f"reproduced: {same} of {len(result.compared)} metrics identical")
    if result.differing:
        name, recorded, now = result.differing[0]
        raise RunError(
            f"{result.checkpoint}: {len(result.differing)} metrics differ from what was recorded, such as {name}: "
            f"{recorded!r} recorded, {now!r} now; another machine or other versions may explain it"
        )
