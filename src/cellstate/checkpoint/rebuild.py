"""Building data and model again from nothing but a checkpoint's own record.

The record is data: a config names its classes, and a name counts only if it stands in the tables below. Nothing is
imported by name, no other key of the config is looked at, and an unknown class is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from cellstate import backbone, data, model
from cellstate.backbone import Backbone
from cellstate.checkpoint.file import KEY
from cellstate.data import DataSpec, SequenceData
from cellstate.errors import RequestError
from cellstate.model import SequenceModel

DATA: dict[str, type[SequenceData]] = {
    f"cellstate.data.{cls.__name__}": cls
    for cls in (
        data.AddingData,
        data.CopyMemoryData,
        data.EmbeddedReberData,
        data.FirstParityData,
        data.MarkovData,
        data.LabelledData,
        data.PatternData,
        data.SeasonalData,
        data.SeriesData,
        data.SineData,
        data.StatesData,
        data.TemporalOrderData,
        data.TextData,
        data.TriggerActionData,
    )
}
BACKBONES: dict[str, type[Backbone]] = {
    f"cellstate.backbone.{cls.__name__}": cls for cls in (backbone.RNN, backbone.LSTM, backbone.GRU)
}
MODELS: dict[str, type[SequenceModel]] = {
    f"cellstate.model.{cls.__name__}": cls
    for cls in (model.Classifier, model.Forecaster, model.LanguageModel, model.NextState, model.Regressor)
}


def named(table: Mapping[str, Any], config: Mapping[str, Any], part: str) -> tuple[Any, dict[str, Any]]:
    """Return the class that ``config`` names, and its arguments.

    Raises:
        RequestError: the name is not in ``table``, or an argument names a class itself.
    """
    if not isinstance(config, Mapping):
        raise RequestError(f"the checkpoint's config has no {part}; it was changed")
    target = str(config.get("_target_"))
    arguments = {key: value for key, value in config.items() if key != "_target_"}
    if target not in table:
        raise RequestError(f"the checkpoint's config asks for {part}={target!r}, which is none of {', '.join(table)}")
    if any(key.startswith("_") for key in arguments) or _mentions_target(arguments):
        raise RequestError(f"the checkpoint's config of {part} holds more than plain values; it is refused")
    return table[target], arguments


def _mentions_target(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(_mentions_target(part) for part in value.values())
    return isinstance(value, (list, tuple)) and any(_mentions_target(part) for part in value)


def rebuild_data(checkpoint: Mapping[str, Any], **changes: Any) -> SequenceData:
    """Return the datamodule that the run of this checkpoint used, with ``changes`` to its arguments."""
    cls, arguments = named(DATA, checkpoint[KEY]["config"]["data"], "data")
    with refusing("data"):
        return cls(**{**arguments, **changes})


def rebuild_model(checkpoint: Mapping[str, Any]) -> SequenceModel:
    """Return the trained model, in evaluation mode, on the CPU; the data is not needed."""
    record = checkpoint[KEY]
    config = record["config"]
    backbone_class, backbone_arguments = named(BACKBONES, config["backbone"], "backbone")
    model_class, arguments = named(MODELS, config["model"], "model")
    with refusing("model"):
        rebuilt = model_class(
            DataSpec.from_dict(record["spec"]), backbone=partial(backbone_class, **backbone_arguments), **arguments
        )
        rebuilt.load_state_dict(checkpoint["state_dict"])
    return rebuilt.eval()


@contextmanager
def refusing(part: str) -> Iterator[None]:
    """Turn what a record cannot be built from into a RequestError: wrong arguments, weights of other shapes."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, RuntimeError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(
            f"the checkpoint's {part} cannot be built from its record ({reason}); it was changed, or written by "
            "another version of cellstate"
        ) from error
