"""Building data and model again from nothing but a checkpoint's own record.

The record is data. A config names its classes, and ``trust`` says which names count; arguments are held against the
constructors' annotations as those on the command line are, and weights against the shapes that the config gives,
before any memory is taken for either.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cellstate import backbone, data, model
from cellstate.backbone import Backbone
from cellstate.checkpoint.record import KEY
from cellstate.checkpoint.trust import Listed, RecordError, Trust, check_plain, own_classes, resolved
from cellstate.config.check import LARGEST_ENSEMBLE
from cellstate.config.signatures import FILLED_IN, argument_problems, value_problems
from cellstate.data import DataSpec, SequenceData, TextData
from cellstate.errors import RequestError
from cellstate.model import SequenceModel
from cellstate.model.ensemble import ensemble_of
from cellstate.model.size import refuse_misfit

DATA = own_classes("data", data, SequenceData)
BACKBONES = own_classes("backbone", backbone, Backbone)
MODELS = own_classes("model", model, SequenceModel)
CHANGED = "it was changed, or written by another version of cellstate"
FILES = ("path", "test_path")  # arguments that name a file to read


def named(listed: Listed, config: Any, trust: Trust = ()) -> tuple[Any, dict[str, Any]]:
    """Return the class that a part of a recorded config names, and its arguments.

    Raises:
        RequestError: the name stands for nothing that is listed or trusted, or an argument is not of its type, out of
            its range, or a class itself.
    """
    part = listed.part
    if not isinstance(config, Mapping):
        raise RecordError(f"the checkpoint's config has no {part}; it was changed")
    arguments = {str(key): value for key, value in config.items() if key != "_target_"}
    cls = resolved(config.get("_target_"), listed, trust)
    check_plain(arguments, part)
    problems = list(argument_problems(part, cls, arguments, FILLED_IN[part]))
    if problems:
        raise RecordError(*(f"the checkpoint's config: {problem}; {CHANGED}" for problem in problems))
    return cls, arguments


def rebuild_data(checkpoint: Mapping[str, Any], *, trust: Trust = (), **changes: Any) -> SequenceData:
    """Return the datamodule that the run of this checkpoint used, with ``changes`` to its arguments; not read yet.

    Args:
        checkpoint: what ``read`` gave.
        trust: packages whose classes the checkpoint may name besides cellstate's own.
        changes: arguments that the user gives.

    Raises:
        RequestError: the record cannot be used, or the data has no such arguments.
    """
    cls, arguments = named(DATA, checkpoint[KEY]["config"]["data"], trust)
    if strange := [key for key in changes if key not in inspect.signature(cls).parameters]:
        raise RequestError(
            f"data.{strange[0]}: {cls.__name__}, the data of this checkpoint, has no {strange[0]}; leave it out"
        )
    if problems := list(argument_problems("data", cls, changes)):
        raise RequestError(*problems)
    with refusing("data"):
        elsewhere = {"cache": None} if issubclass(cls, TextData) else {}  # where to write to is not the record's to say
        return cls(**{**arguments, **elsewhere, **changes})


def read_data(checkpoint: Mapping[str, Any], *, trust: Trust = (), **changes: Any) -> SequenceData:
    """Return what ``rebuild_data`` does, read.

    What stands in a file is told only to someone who names it: of a file that the record alone names, it is not said
    what was wrong with it.

    Raises:
        RequestError: the record cannot be used, or the file that it names, or that ``changes`` name, is not its data.
    """
    built = rebuild_data(checkpoint, trust=trust, **changes)
    recorded = {key: checkpoint[KEY]["config"]["data"].get(key) for key in FILES}
    unasked = [str(path) for key, path in recorded.items() if path is not None and key not in changes]
    with refusing("data"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, of numbers that overflow: such data is refused
        try:
            _ = built.fingerprint
        except RequestError as error:
            if not unasked:
                raise
            raise RequestError(
                f"{', '.join(unasked)}: {_where(unasked)}; give the file as it was with data.path=FILE"
            ) from error
    return built


def _where(paths: list[str]) -> str:
    if all(Path(path).exists() for path in paths):
        return "is not the data that this model was trained on, as it cannot be read as such (data.path=FILE says why)"
    return "no such file any more, which this model was trained on"


def rebuild_model(checkpoint: Mapping[str, Any], *, trust: Trust = ()) -> SequenceModel:
    """Return the trained model, in evaluation mode, on the CPU; the data is not needed.

    Args:
        checkpoint: what ``read`` gave.
        trust: packages whose classes the checkpoint may name besides cellstate's own.

    Raises:
        RequestError: the record cannot be used, or the weights are not those of the model that it describes.
    """
    record = checkpoint[KEY]
    config = record["config"]
    backbone_class, backbone_arguments = named(BACKBONES, config["backbone"], trust)
    model_class, arguments = named(MODELS, config["model"], trust)
    try:
        spec = DataSpec.from_dict(record["spec"])
    except RequestError as error:
        raise RecordError(*(f"the checkpoint's {problem}; it was changed" for problem in error.problems)) from error

    member = partial(model_class, spec, backbone=partial(backbone_class, **backbone_arguments), **arguments)
    build = partial(ensemble_of, member, recorded_size(config))

    with refusing("model"):
        ours = backbone_class in BACKBONES.objects and model_class in MODELS.objects
        refuse_misfit(build, checkpoint["state_dict"], need_memory=not ours)
        rebuilt = build()
        rebuilt.load_state_dict(checkpoint["state_dict"])
    return rebuilt.eval()


def recorded_size(config: Mapping[str, Any]) -> int:
    """Return how many networks the recorded model averages.

    Raises:
        RequestError: it is not a number of networks.
    """
    size = config.get("ensemble", 1)
    if problems := list(value_problems("ensemble", size, Annotated[int, Field(ge=1, le=LARGEST_ENSEMBLE)])):
        raise RecordError(*(f"the checkpoint's config: {problem}; {CHANGED}" for problem in problems))
    return size


@contextmanager
def refusing(part: str) -> Iterator[None]:
    """Turn what a record cannot be built from into a RecordError: wrong arguments, weights of other shapes."""
    try:
        yield
    except RequestError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordError(f"the checkpoint's {part} cannot be built from its record ({reason}); {CHANGED}") from error
