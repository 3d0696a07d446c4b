"""What stands where in a checkpoint, and of what type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from torch import Tensor
from typing_extensions import TypedDict

from cellstate.checkpoint.values import RefusedError, check_values
from cellstate.config.types import NonNegativeInt

FORMAT = 3
KEY = "cellstate"  # where cellstate's own record stands, beside ``state_dict`` and Lightning's state
RANDOM = "cellstate_random"  # the state of the random generators, of each process
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

    state_dict: dict[str, Tensor]
    cellstate: Record


# What it takes to resume a run besides, as Lightning keeps it.
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
            "cellstate_random": list[dict[str, Any]],  # of each process
        },
    )
)
CONTENT, RESUMABLE = TypeAdapter(Content), TypeAdapter(Resumable)


def check_content(content: Mapping[str, Any], *, to_resume: bool = False) -> None:
    """Refuse what is no checkpoint of cellstate, or holds something else where it should hold a known thing.

    Args:
        content: a checkpoint.
        to_resume: whether a run is to resume from it, which takes more than to rebuild its experiment.

    Raises:
        RefusedError: says what.
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
        raise RefusedError(f"its record is not complete ({', '.join(places)}); it was changed") from error
    check_values(record["config"], place="config", most=MOST_IN_CONFIG, longest=LONGEST_TEXT)


def check_format(record: Mapping[str, Any]) -> None:
    """Refuse a record of another format (RefusedError), saying which version of cellstate wrote it."""
    found, versions = record["format"], record.get("versions")
    if found > FORMAT:
        raise RefusedError(f"format {found} is newer than this cellstate reads ({FORMAT}); upgrade it")
    if found < FORMAT:
        version = str(versions.get("cellstate", "")) if isinstance(versions, Mapping) else ""
        writer = f"cellstate {version}" if version.isascii() and version.isprintable() else "another version"
        raise RefusedError(
            f"format {found}, which {writer[:40]} wrote; this one reads {FORMAT}: use that one, or train again"
        )
