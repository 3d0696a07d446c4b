"""``cellstate evaluate``: score a checkpoint again, without any other file of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellstate.config import options
from cellstate.config.command import command
from cellstate.errors import RunError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from cellstate.scoring.evaluate import Evaluation


@command("checkpoint=FILE [data.path=FILE] [precision=64-true] [accelerator=gpu] [test=false]")
def run(
    checkpoint: options.Checkpoint,
    *,
    data: options.ScoredData,
    allow_changed_data: options.ChangedData = False,
    precision: options.Precision = None,
    accelerator: options.Accelerator = None,
    devices: options.Devices = None,
    test: options.ScoreTest = True,
    ledger: options.Ledger = options.LEDGER,
    trust: options.Trust = (),
) -> None:
    """Score a checkpoint again, and check that its recorded scores are reproduced."""
    from cellstate.scoring.evaluate import evaluate

    result = evaluate(
        checkpoint,
        data,
        precision=precision,
        accelerator=accelerator,
        devices=devices,
        allow_changed_data=allow_changed_data,
        test=test,
        ledger=ledger,
        trust=trust,
    )
    show(result, str(ledger))


def show(result: Evaluation, ledger: str) -> None:
    """Print the scores with their references, and whether the recorded ones are reproduced."""
    from rich.console import Console

    from cellstate.runs.ledger import spoken
    from cellstate.training.summary import result_table

    console = Console(highlight=False, soft_wrap=True)
    if result.other_data:
        where, recorded, found = result.other_data
        console.print(
            f"OTHER DATA: {where} is not the data that this model was trained and tested on "
            f"(fingerprint {found[:12]}, recorded {recorded[:12]})", markup=False
        )  # fmt: skip
    split = "test" if "test" in result.metrics else "val"
    table = {"experiment": result.experiment, "seed": result.seed, "reference": result.reference, "val": {}}
    table["debug"] = {"preset": result.debug}
    printed = result_table({**table, **result.metrics}, split)
    printed.title = f"{printed.title}, on other data" if result.other_data else printed.title
    console.print(printed)
    if result.looks is not None:
        console.print(spoken(result.looks, ledger), markup=False)
    print_comparison(console, result)


def print_comparison(console: Console, result: Evaluation) -> None:
    """Print whether the recorded scores are reproduced, or their differences if options were changed.

    Raises:
        RunError: the scores are not reproduced.
    """
    for split in result.new_splits:
        console.print(f"the {split} split was locked in training: no recorded {split} scores to compare with")
    compared, differing = result.compared, result.differing
    if not compared:
        console.print("no recorded scores to compare with: the checkpoint was saved between two validations")
        return
    instead = ", ".join(f"{key}={now} instead of {then}" for key, (then, now) in result.overridden.items())
    how = f" ({instead})" if instead else ""
    if result.other_data:
        console.print(f"recorded scores on the data of the run, and scores on this data{how}:", markup=False)
        console.print(differences(compared))
        return
    same = len(compared) - len(differing)
    console.print(f"reproduced: {same} of {len(compared)} metrics identical{how}", markup=False)
    if not differing:
        return
    if result.overridden:
        console.print(differences(compared))
        return
    name, recorded, now = differing[0]
    reason = f"likely cause: {', '.join(result.causes)}" if result.causes else (
        "processor, threads and versions are as recorded, so the checkpoint or the code was changed"
    )  # fmt: skip
    raise RunError(
        f"{result.checkpoint}: {len(differing)} of {len(compared)} metrics differ from the recorded ones, such as "
        f"{name}: {recorded!r} recorded, {now!r} now; {reason}"
    )


def differences(compared: list[tuple[str, float, float]]) -> Table:
    """Return a table of metrics: recorded, now, and the difference."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for place, title in enumerate(("metric", "recorded", "now", "difference")):
        table.add_column(title, justify="right" if place else "left")
    for name, recorded, now in compared:
        table.add_row(name, f"{recorded:.9g}", f"{now:.9g}", f"{now - recorded:+.3g}" if now != recorded else "0")
    return table
