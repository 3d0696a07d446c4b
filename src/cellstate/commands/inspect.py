"""``cellstate inspect``: open a trained network, and show what it does inside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from omegaconf import DictConfig

from cellstate.annotations import PositiveInt
from cellstate.commands.application import run_application
from cellstate.errors import RequestError, RunError, not_written

if TYPE_CHECKING:
    from cellstate.inspection import Inspection

FOLDER = Path("outputs/inspections")


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
    from cellstate.config import check_values, plain

    check_values({key: config.get(key) for key in Options.__annotations__}, Options)
    if config.checkpoint is None and not config.walk:
        raise RequestError(
            "checkpoint: a value is needed, give checkpoint=FILE or checkpoint=RUN_FOLDER; walk=true alone walks "
            "through a network of three units"
        )
    if config.checkpoint is None and config.input is not None:
        raise RequestError("input: is for a checkpoint; the network of three units reads bits of its own")
    refuse_taken(config.output)

    from rich.console import Console

    from cellstate.inspection import inspect
    from cellstate.inspection.spoken import lines_of_walk, tables
    from cellstate.report.inspection import write
    from cellstate.runs.ledger import spoken

    asked: Any = {key: plain(config[key]) for key in Options.__annotations__ if key not in ("walk", "output")}
    changes = {key: value for key, value in config.data.items() if value is not None}
    found = inspect(**asked, data=changes)
    folder = claim(config.output, found)
    write(found, folder)
    console = Console(highlight=False, soft_wrap=True)
    for part in tables(found):
        console.print(part)
    if config.walk:
        for line in lines_of_walk(found):
            console.print(line, markup=False)
        console.print()
    if found.looks is not None:
        console.print(spoken(found.looks, config.ledger), markup=False)
    console.print(f"{folder / 'report.html'}  and arrays.npz, figures/ beside it", markup=False)
    if found.problem is not None:
        raise RunError(f"{found.source}: {found.problem}")


def refuse_taken(output: str | None) -> None:
    """Refuse a folder that holds anything (RequestError), before the work is done."""
    if output is None:
        return
    folder = Path(output).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        raise RequestError(f"output={output}: the folder holds something already; name another one")
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"output={output}: is a file; name a folder")


def claim(output: str | None, found: Inspection) -> Path:
    """Make the folder: the one asked for, or a new one named by experiment and time, which nobody else has.

    Raises:
        RequestError: it holds something by now.
        RunError: it cannot be made.
    """
    moment = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    named = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in found.experiment).strip(".") or "network"
    folder = FOLDER / named / moment if output is None else Path(output).expanduser()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if output is not None:
            folder.mkdir(exist_ok=True)
            refuse_taken(output)
            return folder
        number = 1
        while True:
            place = folder if number == 1 else folder.with_name(f"{moment}_{number}")
            try:
                place.mkdir()
            except FileExistsError:
                number += 1
            else:
                return place
    except OSError as error:
        raise not_written(folder, error) from error


