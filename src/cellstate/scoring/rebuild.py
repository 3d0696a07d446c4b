"""Rebuild data and model from a checkpoint's record.

The record is untrusted: only cellstate's classes and those of ``trust`` are accepted, arguments are checked against the
annotations of the constructors, as on the command line, and weights against the shapes that follow from the config,
before any memory is allocated.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cellstate import backbone, data, model
from cellstate.backbone import Backbone
from cellstate.checkpoint.record import KEY
from cellstate.checkpoint.trust import Listed, RecordError, Trust, check_plain, own_classes, resolved
from cellstate.config.check import ensemble_problems
from cellstate.config.signatures import FILLED_IN, argument_problems
from cellstate.data import DataSpec, SequenceData, TextData
from cellstate.errors import RequestError
from cellstate.model import SequenceModel
from cellstate.model.ensemble import ensemble_of
from cellstate.model.size import refuse_misfit

DATA = own_classes("data", data, SequenceData)
BACKBONES = own_classes("backbone", backbone, Backbone)
MODELS = own_classes("model", model, SequenceModel)
CHANGED = "it was modified, or written by another version of cellstate"
FILES = ("path", "test_path")  # arguments that name a file to read


def named(listed: Listed, config: Any, trust: Trust = ()) -> tuple[Any, dict[str, Any]]:
    """Return the class of a section of a recorded config, and its arguments.

    Raises:
        RequestError: the class is not trusted, or an argument has the wrong type, is out of range, or is a class.
    """
    part = listed.part
    if not isinstance(config, Mapping):
        raise RecordError(f"the checkpoint's config has no {part}; it was modified")
    arguments = {str(key): value for key, value in config.items() if key != "_target_"}
    cls = resolved(config.get("_target_"), listed, trust)
    check_plain(arguments, part)
    problems = list(argument_problems(part, cls, arguments, FILLED_IN[part]))
    if problems:
        raise RecordError(*(f"the checkpoint's config: {problem}; {CHANGED}" for problem in problems))
    return cls, arguments


def rebuild_data(checkpoint: Mapping[str, Any], *, trust: Trust = (), **changes: Any) -> SequenceData:
    """Return the datamodule of a checkpoint with ``changes`` to its arguments, not read yet.

    Args:
        checkpoint: the result of ``checkpoint.read``.
        trust: extra packages whose classes may be loaded.
        changes: arguments given by the user.

    Raises:
        RequestError: the record is invalid, or the datamodule has no such arguments.
    """
    cls, arguments = named(DATA, checkpoint[KEY]["config"]["data"], trust)
    if strange := [key for key in changes if key not in inspect.signature(cls).parameters]:
        raise RequestError(
            f"data.{strange[0]}: {cls.__name__}, the data of this checkpoint, has no argument {strange[0]}; omit it"
        )
    if problems := list(argument_problems("data", cls, changes)):
        raise RequestError(*problems)
    with rebuilding("data"):
        elsewhere = (
            {"cache": None} if issubclass(cls, TextData) else {}
        )  # an untrusted record must not choose where to write
        return cls(**{**arguments, **elsewhere, **changes})


def read_data(checkpoint: Mapping[str, Any], *, trust: Trust = (), **changes: Any) -> SequenceData:
    """Return the datamodule of ``rebuild_data``, with its data read.

    Errors do not reveal the content of a file that only the record names.

    Raises:
        RequestError: the record is invalid, or its file, or the file in ``changes``, is not its data.
    """
    built = rebuild_data(checkpoint, trust=trust, **changes)
    recorded = {key: checkpoint[KEY]["config"]["data"].get(key) for key in FILES}
    unasked = [str(path) for key, path in recorded.items() if path is not None and key not in changes]
    with rebuilding("data"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numbers that overflow: such data is rejected
        try:
            _ = built.fingerprint
        except RequestError as error:
            if not unasked:
                raise
            reason = "not the data that this model was trained on: it cannot be read (data.path=FILE shows the reason)"
            if not all(Path(path).exists() for path in unasked):
                reason = "the data file of this model no longer exists"
            raise RequestError(f"{', '.join(unasked)}: {reason}; give the original file with data.path=FILE") from error
    return built


def rebuild_model(checkpoint: Mapping[str, Any], *, trust: Trust = ()) -> SequenceModel:
    """Return the trained model in evaluation mode on the CPU, without reading its data.

    Args:
        checkpoint: the result of ``checkpoint.read``.
        trust: extra packages whose classes may be loaded.

    Raises:
        RequestError: the record is invalid, or the weights do not fit the model that it describes.
    """
    record = checkpoint[KEY]
    config = record["config"]
    backbone_class, backbone_arguments = named(BACKBONES, config["backbone"], trust)
    model_class, arguments = named(MODELS, config["model"], trust)
    try:
        spec = DataSpec.from_dict(record["spec"])
    except RequestError as error:
        raise RecordError(*(f"the checkpoint's {problem}; it was modified" for problem in error.problems)) from error

    member = partial(model_class, spec, backbone=partial(backbone_class, **backbone_arguments), **arguments)
    build = partial(ensemble_of, member, recorded_size(config))

    with rebuilding("model"):
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
    if problems := list(ensemble_problems(config)):
        raise RecordError(*(f"the checkpoint's config: {problem}; {CHANGED}" for problem in problems))
    return config.get("ensemble", 1)


@contextmanager
def rebuilding(part: str) -> Iterator[None]:
    """Turn errors in rebuilding a part into a RecordError, such as weights of other shapes."""
    try:
        yield
    except RequestError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordError(f"the checkpoint's {part} cannot be built from its record ({reason}); {CHANGED}") from error
