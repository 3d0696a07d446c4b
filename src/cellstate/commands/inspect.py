"""``cellstate inspect``: show gates and states, gradients, memory, and a walk through one sequence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cellstate.config import options
from cellstate.config.command import command
from cellstate.errors import RequestError, RunError

if TYPE_CHECKING:
    from cellstate.inspection import Inspection


@command(
    "checkpoint=FILE [input=FILE] [split=val|train|test] [walk=true] [output=FOLDER]",
    "  cellstate inspect checkpoint=outputs/runs/pattern/NAME               on its validation split",
    "  cellstate inspect checkpoint=best.ckpt input=my_sequences.csv        on custom sequences",
    "  cellstate inspect checkpoint=best.ckpt walk=true sequence=2          and the second one step by step",
    "  cellstate inspect walk=true                                          no checkpoint: hand-written weights",
)
def run(
    checkpoint: options.Checkpoint | None = None,
    *,
    input: options.Sequences = None,
    split: options.Split = "val",
    sequences: options.SequenceCount = 32,
    sequence: options.SequenceNumber = 1,
    steps: options.Steps = None,
    walk: Annotated[bool, Field(description="true: print that sequence step by step")] = False,
    units: options.WalkedUnits = 3,
    seed: options.InspectionSeed = 0,
    output: Annotated[
        str | Path | None, Field(description="output folder; null: outputs/inspections/EXPERIMENT/TIME")
    ] = None,
    report: Annotated[bool, Field(description="false: only arrays, without figures and page")] = True,
    data: options.MovedData,
    allow_changed_data: options.ChangedData = False,
    ledger: options.Ledger = options.LEDGER,
    trust: options.Trust = (),
) -> None:
    """Inspect a trained network: its gates and states, gradients, memory, and every step of a sequence."""
    if checkpoint is None and not walk:
        raise RequestError(
            "checkpoint: a value is required; set checkpoint=FILE, a checkpoint file or a run folder; walk=true alone "
            "shows a network of three units"
        )
    if checkpoint is None and input is not None:
        raise RequestError("input: requires a checkpoint; the network of three units has its own input")
    from cellstate.inspection import inspect
    from cellstate.inspection.folder import check_empty, writing

    check_empty(output)
    found = inspect(
        checkpoint,
        input=input,
        split=split,
        sequences=sequences,
        sequence=sequence,
        steps=steps,
        units=units,
        seed=seed,
        data=data,
        allow_changed_data=allow_changed_data,
        ledger=ledger,
        trust=trust,
    )
    with writing(output, found.experiment) as folder:
        if report:
            from cellstate.inspection.page import write  # loads matplotlib

            write(found, folder)
        else:
            found.write_arrays(folder / "arrays.npz")
    show(found, walk=walk, ledger=str(ledger))
    print(f"{folder / 'report.html'}  with arrays.npz and figures/" if report else folder / "arrays.npz")
    if found.problem is not None:
        raise RunError(f"{found.source}: {found.problem}")


def show(found: Inspection, *, walk: bool, ledger: str) -> None:
    """Print the tables, the walk if asked for, and the ledger's count of evaluations on the test split."""
    from rich.console import Console

    from cellstate.inspection.summary import lines_of_walk, tables
    from cellstate.runs.ledger import spoken

    console = Console(highlight=False, soft_wrap=True)
    for part in tables(found, console.width):
        console.print(part)
    if walk:
        for line in lines_of_walk(found):
            console.print(line, markup=False)
        console.print()
    if found.looks is not None:
        console.print(spoken(found.looks, ledger), markup=False)
