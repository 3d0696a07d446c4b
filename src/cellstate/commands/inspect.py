"""``cellstate inspect``: open a trained network, and show what it does inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypedDict

from omegaconf import DictConfig

from cellstate.config.application import run_application
from cellstate.config.types import PositiveInt
from cellstate.errors import RequestError, RunError


class Options(TypedDict):
    """The command's own keys."""

    checkpoint: str | None
    input: str | None
    split: Literal["val", "train", "test"]
    sequences: PositiveInt
    sequence: PositiveInt
    steps: PositiveInt | None
    walk: bool
    units: PositiveInt
    seed: int
    output: str | None
    report: bool
    allow_changed_data: bool
    ledger: str
    trust: str | Sequence[str]


def run(words: list[str]) -> int:
    """Run the command."""
    return run_application("inspect", task, words)


def task(config: DictConfig) -> None:
    """Inspect, write arrays, figures and page, and print the table.

    Raises:
        RequestError: the request was wrong.
        RunError: a forecast does not see the newest input, or sees the future; all else is written and printed before.
    """
    from cellstate.config.check import check_values, plain

    check_values({key: config.get(key) for key in Options.__annotations__}, Options)
    if config.checkpoint is None and not config.walk:
        raise RequestError(
            "checkpoint: a value is needed, give checkpoint=FILE or checkpoint=RUN_FOLDER; walk=true alone walks "
            "through a network of three units"
        )
    if config.checkpoint is None and config.input is not None:
        raise RequestError("input: is for a checkpoint; the network of three units reads bits of its own")
    from rich.console import Console

    from cellstate.inspection import inspect
    from cellstate.inspection.folder import refuse_taken, writing
    from cellstate.inspection.spoken import lines_of_walk, tables
    from cellstate.runs.ledger import spoken

    refuse_taken(config.output)
    asked: Any = {key: plain(config[key]) for key in Options.__annotations__ if key not in ("walk", "output", "report")}
    changes = {key: value for key, value in config.data.items() if value is not None}
    found = inspect(**asked, data=changes)
    with writing(config.output, found.experiment) as folder:
        if config.report:
            from cellstate.inspection.page import write  # loads matplotlib

            write(found, folder)
        else:
            found.write_arrays(folder / "arrays.npz")
    console = Console(highlight=False, soft_wrap=True)
    for part in tables(found, console.width):
        console.print(part)
    if config.walk:
        for line in lines_of_walk(found):
            console.print(line, markup=False)
        console.print()
    if found.looks is not None:
        console.print(spoken(found.looks, config.ledger), markup=False)
    page = f"{folder / 'report.html'}  and arrays.npz, figures/ beside it"
    console.print(page if config.report else str(folder / "arrays.npz"), markup=False)
    if found.problem is not None:
        raise RunError(f"{found.source}: {found.problem}")
