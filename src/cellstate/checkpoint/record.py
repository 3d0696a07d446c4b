"""Schema of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from torch import Tensor
from typing_extensions import TypedDict

from cellstate.checkpoint.values import RefusedError, check_values
from cellstate.config.types import NonNegativeInt

FORMAT = 3
KEY = "cellstate"  # key of cellstate's record, next to ``state_dict`` and Lightning's state
RANDOM = "cellstate_random"  # key of the states of the random generators, one per process
MOST_IN_CONFIG = 100_000  # values
LONGEST_TEXT = 100_000  # characters of a string
STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)
Name = Annotated[str, Field(pattern=r"^\P{C}*$", max_length=200)]  # no control characters: it is printed on terminals
Scores = dict[Name, dict[Name, float]]
Section = dict[str, Any]


@with_config(STRICT)
class Config(TypedDict):
    """The required part of a recorded config; the rest may contain any plain values."""

    experiment: Name
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: Section
    model: Section
    backbone: Section


@with_config(STRICT)
class Record(TypedDict):
    """The record of cellstate in every checkpoint."""

    format: int
    config: Config
    spec: Section
    fingerprint: str
    reference: Scores
    metrics: Scores


@with_config(STRICT)
class Content(TypedDict):
    """A complete checkpoint."""

    state_dict: dict[str, Tensor]
    cellstate: Record


# Lightning's state, needed to resume a run.
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
            "cellstate_training": list[dict[str, Any]],  # one per process
            "cellstate_random": list[dict[str, Any]],  # one per process
        },
    )
)
CONTENT, RESUMABLE = TypeAdapter(Content), TypeAdapter(Resumable)


def check_content(content: Mapping[str, Any], *, to_resume: bool = False) -> None:
    """Validate the content of a checkpoint.

    Args:
        content: a checkpoint.
        to_resume: whether a run resumes from it, which requires more content.

    Raises:
        RefusedError: with the invalid entries.
    """
    record = content.get(KEY)
    if not isinstance(record, Mapping) or type(record.get("format")) is not int:
        raise RefusedError("a checkpoint, but not one of cellstate: it has no record of its experiment")
    check_format(record)
    try:
        CONTENT.validate_python(content)
        if to_resume:
            RESUMABLE.validate_python(content)
    except ValidationError as error:
        found = [[str(part)[:40] for part in one["loc"] if part != KEY] for one in error.errors()[:3]]
        places = dict.fromkeys(".".join(place) for place in found)
        raise RefusedError(f"invalid record ({', '.join(places)}); it was modified") from error
    check_values(record["config"], place="config", most=MOST_IN_CONFIG, longest=LONGEST_TEXT)


def check_format(record: Mapping[str, Any]) -> None:
    """Reject a record of another format (RefusedError), naming the version of cellstate that wrote it."""
    found, versions = record["format"], record.get("versions")
    if found > FORMAT:
        raise RefusedError(
            f"format {found} is newer than this version of cellstate supports ({FORMAT}); upgrade cellstate"
        )
    if found < FORMAT:
        version = str(versions.get("cellstate", "")) if isinstance(versions, Mapping) else ""
        writer = f"cellstate {version}" if version.isascii() and version.isprintable() else "another version"
        raise RefusedError(
            f"format {found}, written by {writer[:40]}; this version reads {FORMAT}: use that version, or train again"
        )
