"""Options that commands and functions of the Python API share: their types, ranges and meanings, each stated once.

A command's signature (``config/command.py``) and that of the function that does its work use the same annotations.
Nothing heavy is imported: help and completion are made of them.
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
PYTHON = {"null": "None", "true": "True", "false": "False"}

# ---------------------------------------------------------------------- checkpoints and data

Checkpoint = Annotated[str | Path, Field(description="a checkpoint file, or a run folder, whose best one is taken")]
Trust = Annotated[
    str | Sequence[str], Field(description="extra packages whose classes may be loaded, beside cellstate's own")
]
Ledger = Annotated[str | Path, Field(description="file that records each evaluation on a test split")]
ChangedData = Annotated[bool, Field(description="true: accept data that is not what the model was trained on")]
Changes = Annotated[
    Mapping[str, Any] | None,
    Field(description="arguments of the data to change, such as {'path': ...} where the file has moved"),
]
Output = Annotated[str | Path | None, Field(description="file to write; null: the screen")]
Overwrite = Annotated[bool, Field(description="true: write over an output file that is there")]


class MovedData(TypedDict, total=False):
    """Where the data is now."""

    path: Annotated[str | Path | None, Field(description="new place of a data file that was moved; same content")]
    test_path: Annotated[str | Path | None, Field(description="likewise of the file that holds the test split")]


class ScoredData(MovedData, total=False):
    """Where the data is now, and how much of it is scored at once."""

    batch_size: Annotated[PositiveInt | None, Field(description="samples scored at once; null: as in the run")]


# ---------------------------------------------------------------------- evaluate

Precision = Annotated[str | int | None, Field(description="as trainer.precision; null: as in the run")]
Accelerator = Annotated[
    str | None,
    Field(description="cpu, gpu, or auto, which takes a GPU if there is one; null: as in the run, else cpu"),
]
Devices = Annotated[
    int | None,
    Field(description="how many, a process each; null: as many as the run had on the CPU if this machine has them"),
]
ScoreTest = Annotated[bool, Field(description="false leaves the test split locked, and scores the validation split")]

# ---------------------------------------------------------------------- generate

Prompt = Annotated[
    str | None, Field(description="what the text begins with, taken literally; null: the beginning of a line")
]
TextLength = Annotated[NonNegativeInt, Field(description="symbols to write after it")]
Temperature = Annotated[
    NonNegativeFloat, Field(description="below 1 likelier symbols are preferred; 0 always takes the likeliest")
]
TopK = Annotated[PositiveInt | None, Field(description="sample among this many of the likeliest symbols only")]
TopP = Annotated[
    NonNegativeFloat | None, Field(description="sample among the fewest symbols that hold this share of probability")
]
TextSeed = Annotated[int, Field(ge=0, le=2**63 - 1, description="the same seed writes the same text")]

# ---------------------------------------------------------------------- inspect

Sequences = Annotated[
    str | Path | None,
    Field(description="file of sequences to inspect, in the form of the training file; null: those of split"),
]
Split = Annotated[
    Literal["val", "train", "test"],
    Field(description="of the checkpoint's own data: val, train, or test, which the ledger records"),
]
SequenceCount = Annotated[PositiveInt, Field(description="how many sequences to inspect")]
SequenceNumber = Annotated[PositiveInt, Field(description="which of them is drawn and walked through, from 1")]
Steps = Annotated[
    PositiveInt | None,
    Field(description="of a text, characters of each piece; null: 128, or a quarter of a shorter text"),
]
WalkedUnits = Annotated[PositiveInt, Field(description="units that the walk shows, those that matter most")]
InspectionSeed = Annotated[int, Field(description="of what is drawn: sequences, replacements, shuffles")]

# ---------------------------------------------------------------------- report

Reported = Annotated[
    str | Path, Field(description="the folder of a run, a sweep or a comparison, such as outputs/sweeps/NAME")
]
RankedBy = Annotated[
    str | None,
    Field(description="of a sweep, what its jobs are ranked by, such as val/loss; null: the main metric of their task"),
]


def meaning(annotation: Any) -> str:
    """Return the description in an annotation, or in a member of a union; empty where there is none."""
    own = [part.description for part in getattr(annotation, "__metadata__", ()) if isinstance(part, FieldInfo)]
    members = [] if hasattr(annotation, "__metadata__") else map(meaning, typing.get_args(annotation))
    return next((text for text in [*reversed(own), *members] if text), "")


def documented(function: Function) -> Function:
    """Put the meanings of the annotated arguments into the docstring, before what it raises."""
    hints = typing.get_type_hints(function, include_extras=True)
    lines = [f"{name}: {in_python(meaning(hint))}." for name, hint in hints.items() if meaning(hint)]
    wrapped = [textwrap.fill(line, 112, initial_indent=" " * 8, subsequent_indent=" " * 12) for line in lines]
    before, raises, after = (function.__doc__ or "").partition("    Raises:\n")
    function.__doc__ = f"{before.rstrip()}\n\n    Args:\n" + "\n".join(wrapped) + f"\n\n{raises}{after}"
    return function


def in_python(text: str) -> str:
    """Return a meaning with the words of YAML as Python writes them."""
    return re.sub(r"\b(null|true|false)\b", lambda found: PYTHON[found[0]], text)
