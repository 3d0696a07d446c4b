"""Types, ranges and descriptions of options that commands share with functions of the Python API.

The signature of a command (``config/command.py``) and of the function that it calls use the same annotations.
Nothing heavy is imported, as help and completion use them.
"""

from __future__ import annotations

import re
import textwrap
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar

from pydantic import Field
from pydantic.fields import FieldInfo

from cellstate.config.types import NonNegativeFloat, NonNegativeInt, PositiveInt

Function = TypeVar("Function", bound=Callable[..., Any])

LEDGER = "outputs/ledger.csv"
PYTHON = {"null": "None", "true": "True", "false": "False"}  # YAML -> Python
CONSTANT = re.compile(r"\b(null|true|false)\b")

# ---------------------------------------------------------------------- checkpoints and data

Checkpoint = Annotated[str | Path, Field(description="a checkpoint file, or a run folder, whose best one is used")]
Trust = Annotated[
    str | Sequence[str], Field(description="extra packages whose classes may be loaded, in addition to cellstate")
]
Ledger = Annotated[str | Path, Field(description="file that logs each evaluation on a test split")]
ChangedData = Annotated[bool, Field(description="true: accept data other than the training data")]
Changes = Annotated[
    Mapping[str, Any] | None,
    Field(description="arguments of the data to change, such as {'path': ...} if the file has moved"),
]
Output = Annotated[str | Path | None, Field(description="file to write; null: the screen")]
Overwrite = Annotated[bool, Field(description="true: overwrite an existing output file")]


class MovedData(TypedDict, total=False):
    """New location of the data."""

    path: Annotated[str | Path | None, Field(description="new path of a data file that was moved; same content")]
    test_path: Annotated[str | Path | None, Field(description="likewise for the file of the test split")]


class ScoredData(MovedData, total=False):
    """New location of the data, and the batch size."""

    batch_size: Annotated[PositiveInt | None, Field(description="samples per batch; null: as in the run")]


# ---------------------------------------------------------------------- evaluate

Precision = Annotated[str | int | None, Field(description="as trainer.precision; null: as in the run")]
Accelerator = Annotated[
    str | None,
    Field(description="cpu, gpu, or auto, which uses a GPU if available; null: as in the run, else cpu"),
]
Devices = Annotated[
    int | None,
    Field(description="number, with a process each; null: as in a run on the CPU, if this machine has as many"),
]
ScoreTest = Annotated[bool, Field(description="false: leave the test split locked, and score the validation split")]

# ---------------------------------------------------------------------- generate

Prompt = Annotated[str | None, Field(description="start of the text, taken literally; null: the beginning of a line")]
TextLength = Annotated[NonNegativeInt, Field(description="symbols to generate after it")]
Temperature = Annotated[
    NonNegativeFloat, Field(description="below 1: prefer likely symbols; 0: always choose the most likely one")
]
TopK = Annotated[PositiveInt | None, Field(description="sample from this many of the most likely symbols")]
TopP = Annotated[
    NonNegativeFloat | None, Field(description="sample from the fewest symbols whose probabilities add up to this")
]
TextSeed = Annotated[int, Field(ge=0, le=2**63 - 1, description="the same seed generates the same text")]

# ---------------------------------------------------------------------- inspect

Sequences = Annotated[
    str | Path | None,
    Field(description="file of sequences to inspect, in the format of the training file; null: those of split"),
]
Split = Annotated[
    Literal["val", "train", "test"],
    Field(description="of the checkpoint's data: val, train, or test, which is logged in the ledger"),
]
SequenceCount = Annotated[PositiveInt, Field(description="number of sequences to inspect")]
SequenceNumber = Annotated[PositiveInt, Field(description="the one to draw and walk through, from 1")]
Steps = Annotated[
    PositiveInt | None,
    Field(description="for text, characters of each piece; null: 128, or a quarter of a shorter text"),
]
WalkedUnits = Annotated[
    PositiveInt, Field(description="number of units in the walk, those with the largest effect on the loss")
]
InspectionSeed = Annotated[int, Field(description="of random sequences, replacements and shuffles")]

# ---------------------------------------------------------------------- report

Reported = Annotated[
    str | Path, Field(description="folder of a run, sweep, comparison or benchmark, such as outputs/sweeps/NAME")
]
RankedBy = Annotated[
    str | None,
    Field(description="for a sweep, metric to rank its jobs by, such as val/loss; null: the main metric of the task"),
]

# ---------------------------------------------------------------------- benchmark

BenchmarkFile = Annotated[str | Path, Field(description="YAML file of data sets, methods, seeds and published figures")]
BenchmarkFolder = Annotated[
    str | Path | None, Field(description="folder of its runs and results; null: outputs/benchmarks/NAME")
]
DataFolder = Annotated[
    str | Path | None, Field(description="folder that relative paths of data files start from; null: that of the file")
]
OnlyDataSets = Annotated[
    str | Sequence[str] | None, Field(description="train only these data sets now, [a,b]; null: all")
]
OnlyMethods = Annotated[str | Sequence[str] | None, Field(description="train only these methods now, [a,b]; null: all")]
OnlySeeds = Annotated[int | Sequence[int] | None, Field(description="train only these seeds now, [0,1]; null: all")]
ConfigFolder = Annotated[
    str | Path | None, Field(description="folder with custom configs, as for --config-dir of cellstate train")
]
Quiet = Annotated[bool, Field(description="true: print no line of progress")]


def meaning(annotation: Any) -> str:
    """Return the description in an annotation, or in a member of a union; empty if there is none."""
    own = [part.description for part in getattr(annotation, "__metadata__", ()) if isinstance(part, FieldInfo)]
    members = [] if hasattr(annotation, "__metadata__") else map(meaning, typing.get_args(annotation))
    return next((text for text in [*reversed(own), *members] if text), "")


def documented(function: Function) -> Function:
    """Insert the descriptions of the annotated arguments into the docstring, before ``Raises``."""
    hints = typing.get_type_hints(function, include_extras=True)
    texts = {name: text for name, hint in hints.items() if (text := meaning(hint))}
    lines = [f"{name}: {CONSTANT.sub(lambda found: PYTHON[found[0]], text)}." for name, text in texts.items()]
    wrapped = [textwrap.fill(line, 112, initial_indent=" " * 8, subsequent_indent=" " * 12) for line in lines]
    before, raises, after = (function.__doc__ or "").partition("    Raises:\n")
    function.__doc__ = f"{before.rstrip()}\n\n    Args:\n" + "\n".join(wrapped) + f"\n\n{raises}{after}"
    return function
