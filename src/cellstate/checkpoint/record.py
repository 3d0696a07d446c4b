"""What stands where in a checkpoint, and of what type; held against what a file describes before it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from cellstate.checkpoint.archive import RefusedError
from cellstate.checkpoint.instructions import StoredTensor
from cellstate.checkpoint.values import check_values
from cellstate.config.types import NonNegativeInt

FORMAT = 2
KEY = "cellstate"  # where cellstate's own record stands in Lightning's checkpoint
MOST_IN_CONFIG = 100_000  # values
LONGEST_TEXT = 100_000  # characters of one of them
STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)
Name = Annotated[str, Field(pattern=r"^\P{C}*$", max_length=200)]  # printed on terminals, which obey some characters
Scores = dict[Name, dict[Name, float]]
Section = dict[str, Any]


@with_config(STRICT)
class Config(TypedDict):
    """What of a recorded config is read; the rest may hold what it likes, as long as it is plain."""

    experiment: Name
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: Section
    model: Section
    backbone: Section


@with_config(STRICT)
class Record(TypedDict):
    """What cellstate keeps in every checkpoint."""

    format: int
    config: Config
    spec: Section
    fingerprint: str
    reference: Scores
    metrics: Scores


@with_config(STRICT)
class Content(TypedDict):
    """A whole checkpoint."""

    state_dict: dict[str, StoredTensor]
    cellstate: Record


# What it takes to go on with a run besides, as Lightning keeps it.
Resumable = with_config(STRICT)(
    TypedDict(
        "Resumable",
        {
            "pytorch-lightning_version": Annotated[str, Field(pattern=r"^\d+\.\d+[\w.+]*$", max_length=40)],
            "epoch": NonNegativeInt,
            "global_step": NonNegativeInt,
            "loops": dict[str, Any],
            "callbacks": dict[str, Any],
            "optimizer_states": list[dict[str, Any]],
            "lr_schedulers": list[dict[str, Any]],
            "cellstate_training": list[dict[str, Any]],  # of each process
        },
    )
)
CONTENT, RESUMABLE = TypeAdapter(Content), TypeAdapter(Resumable)


def check_content(content: Any, *, to_go_on: bool = False) -> None:
    """Refuse what is no checkpoint of cellstate, or holds something else where it should hold a known thing.

    Args:
        content: a checkpoint, with a ``StoredTensor`` in the place of every tensor.
        to_go_on: whether a run is to go on from it, which takes more than to rebuild its experiment.

    Raises:
        RefusedError: says what.
    """
    check_values(content, lambda value: type(value) is StoredTensor)
    record = content.get(KEY) if isinstance(content, Mapping) else None
    if not isinstance(record, Mapping) or type(record.get("format")) is not int:
        raise RefusedError("a checkpoint, but not one of cellstate: it has no record of its experiment")
    if record["format"] > FORMAT:
        raise RefusedError(f"format {record['format']} is newer than this cellstate reads ({FORMAT}); upgrade it")
    try:
        CONTENT.validate_python(content)
        if to_go_on:
            RESUMABLE.validate_python(content)
    except ValidationError as error:
        found = [[str(part)[:40] for part in one["loc"] if part != KEY] for one in error.errors()[:3]]
        places = dict.fromkeys(".".join(place) for place in found)
        raise RefusedError(f"its record is not complete ({', '.join(places)}); it was changed") from error
    check_values(record["config"], lambda _: False, MOST_IN_CONFIG, "config")
    if longest_text(record["config"]) > LONGEST_TEXT:
        raise RefusedError(f"its config holds texts of more than {LONGEST_TEXT:,} characters; it was changed")


def longest_text(value: Any) -> int:
    """Return the characters of the longest text in plain values, keys included."""
    if isinstance(value, str):
        return len(value)
    parts = (
        [*value, *value.values()] if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    )
    return max(map(longest_text, parts), default=0)
