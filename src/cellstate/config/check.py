"""Check a composed config against the signatures that it configures, and report all problems at once."""

from __future__ import annotations

import inspect
import logging
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from cellstate.config.explain import explain
from cellstate.config.signatures import FILLED_IN, argument_problems, shown, value_problems
from cellstate.config.tasks import task_problem
from cellstate.errors import RequestError, did_you_mean

KEYS = (  # of the config of a run
    *("experiment", "debug", "seed", "ensemble", "data", "model", "backbone", "optimizer", "scheduler"),
    *("callbacks", "checkpoint", "trainer", "logger", "sweep"),
    *("test", "ledger", "report", "run", "resume", "trust", "quiet"),
)
SECTIONS = ("data", "model", "backbone", "optimizer", "scheduler", "checkpoint", "trainer", "debug")
# Keys that do not affect training.
HOW_GIVEN = frozenset({"run", "resume", "quiet", "report", "ledger", "trust", "logger", "sweep"})
# Keys that a preset sets if they exist: not every network, optimizer or model has all of them.
WHERE_KNOWN = (
    *(("model", key) for key in ("dropout", "input_noise", "augmented", "label_smoothing")),
    ("backbone", "dropout"),
    ("optimizer", "weight_decay"),
)
LARGEST_SEED = 2**32 - 1  # limit of numpy
LARGEST_ENSEMBLE = 100


def plain(config: Any) -> Any:
    """Return a config as plain dictionaries and lists, with interpolations resolved."""
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config


def recorded(config: DictConfig) -> dict[str, Any]:
    """Return the resolved config with absolute data paths, so that it is valid from any folder."""
    values = plain(config)
    values.pop("trust", None)  # trust is granted per command
    data = values.get("data")
    for key in ("path", "test_path"):
        if isinstance(data, dict) and data.get(key):
            data[key] = str(Path(data[key]).expanduser().resolve())
    return values


def debugged(config: Mapping[str, Any]) -> str | None:
    """Return the name of the debug preset in a run's config, which is untrusted; None if there is none."""
    section = config.get("debug")
    if not section:
        return None
    target = section.get("_target_") if isinstance(section, Mapping) else None
    name = str(target).rpartition(".")[2].lower()
    return name if name.isidentifier() and len(name) < 40 else "unknown"


def drop_unknown(config: DictConfig) -> None:
    """Remove from a config the keys of ``WHERE_KNOWN`` that its classes do not have."""
    for section, key in WHERE_KNOWN:
        node = config.get(section)
        if not OmegaConf.is_dict(node) or key not in node:
            continue
        if (factory := _locate(node.get("_target_"))) is None:  # reported by ``check``
            continue
        parameters = inspect.signature(factory).parameters
        if key not in parameters and not any(found.kind is found.VAR_KEYWORD for found in parameters.values()):
            with open_dict(node):
                del node[key]


def check(config: DictConfig) -> None:
    """Check every section of a config against the signature of its ``_target_``.

    Keys of a ``debug`` preset that do not apply are removed first.

    Raises:
        RequestError: one line for each unknown key, wrong type and value out of range.
    """
    if config.get("debug"):
        drop_unknown(config)
    try:
        values = plain(config)
    except OmegaConfBaseException as error:
        raise explain(error, "train", []) from error
    problems = [f"{key}: unknown key{did_you_mean(key, KEYS)}" for key in values if key not in KEYS]
    problems += _top_level_problems(values)
    mismatch = task_problem(*(_class_of(values.get(section)) for section in ("model", "data")))
    for section in SECTIONS:
        if section == "model" and mismatch:  # its keys are those of another model, set by the experiment
            problems.append(mismatch)
        elif values.get(section):
            problems += _problems(section, _without_wrong_seed(values[section], values), FILLED_IN[section])
        elif section not in ("scheduler", "debug"):
            problems.append(f"{section}: is missing; choose one with {section}=NAME (see: cellstate list {section})")
    problems += _trainer_problems(values.get("trainer") or {})
    for group in ("callbacks", "logger"):
        if group not in values:
            problems.append(f"{group}: is missing; keep it, and set unwanted members to null")
        for name, node in chosen(values.get(group)).items():
            problems += _problems(f"{group}.{name}", _without_open_mode(node), set())
    if problems:
        raise RequestError(*problems)


def check_values(values: Mapping[str, Any], options: type) -> None:
    """Check the values of a flat config against the annotations of a class.

    Raises:
        RequestError: one line for each wrong type and value out of range.
    """
    problems = [
        problem
        for key, annotation in typing.get_type_hints(options, include_extras=True).items()
        for problem in value_problems(key, plain(values[key]), annotation)
    ]
    if problems:
        raise RequestError(*problems)


def chosen(group: Any) -> dict[str, Any]:
    """Return the members of ``callbacks`` or ``logger`` that are not null."""
    return {name: node for name, node in (group or {}).items() if node is not None}


def _without_open_mode(callback: Any) -> Any:
    """Remove ``mode: null``, which is replaced with the direction of the monitored metric."""
    if not isinstance(callback, Mapping) or callback.get("mode", "") is not None:
        return callback
    return {key: value for key, value in callback.items() if key != "mode"}


def _top_level_problems(values: Mapping[str, Any]) -> Iterator[str]:
    if not _is_seed(values.get("seed")):
        yield f"seed={shown(values.get('seed'))}: should be an integer from 0 to {LARGEST_SEED}"
    if values.get("resume") not in (None, "auto"):
        yield f"resume={shown(values['resume'])}: should be auto or null; to resume a specific run, use run=FOLDER"
    if not isinstance(values.get("ledger"), str) or not values["ledger"]:
        yield f"ledger={shown(values.get('ledger'))}: should be a file, such as outputs/ledger.csv"
    yield from ensemble_problems(values)
    for key in ("report", "quiet", "test"):
        if not isinstance(values.get(key, False), bool):
            yield f"{key}={shown(values[key])}: should be true or false"


def ensemble_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line if the config of a run, which may come from anywhere, has no valid size of an ensemble."""
    size = values.get("ensemble", 1)
    if not (isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= LARGEST_ENSEMBLE):
        yield f"ensemble={shown(size)}: should be an integer from 1 to {LARGEST_ENSEMBLE}"


def _is_seed(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_SEED


def _without_wrong_seed(section: Any, values: Mapping[str, Any]) -> Any:
    """Remove an invalid seed that equals that of the run, to report it only once."""
    if not isinstance(section, Mapping) or "seed" not in section or section["seed"] != values.get("seed"):
        return section
    return section if _is_seed(section["seed"]) else {key: part for key, part in section.items() if key != "seed"}


def _trainer_problems(trainer: Any) -> Iterator[str]:
    """Yield problems that Lightning accepts, but that leave a run without steps or validation."""
    if not isinstance(trainer, Mapping):
        return
    for key in ("max_epochs", "max_steps", "limit_train_batches"):
        if _is_number(trainer.get(key)) and trainer[key] == 0:
            yield f"trainer.{key}=0: nothing would be trained; set a value above 0"
    if _is_number(trainer.get("limit_val_batches")) and trainer["limit_val_batches"] == 0:
        yield "trainer.limit_val_batches=0: the best checkpoint is selected by the validation loss; set a value above 0"
    clip = trainer.get("gradient_clip_val")
    if isinstance(clip, (int, float)) and clip < 0:
        yield f"trainer.gradient_clip_val={clip}: a norm cannot be negative; null disables clipping"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _problems(section: str, values: Any, filled_in: set[str]) -> list[str]:
    if not isinstance(values, Mapping) or "_target_" not in values:
        return [f"{section}: has no _target_; choose one of its configs with {section}=NAME (see: cellstate list)"]
    target = values["_target_"]
    factory = _locate(target)
    if factory is None:
        return [f"{section}._target_={target}: class not found; check its spelling, and that it is installed"]
    return list(argument_problems(section, factory, values, filled_in))


def _class_of(section: Any) -> Any:
    return _locate(section.get("_target_")) if isinstance(section, Mapping) else None


def _locate(target: Any) -> Any:
    """Return the class or function of a dotted name; None if not found, without Hydra's log message."""
    log = logging.getLogger("hydra.utils")
    was_disabled, log.disabled = log.disabled, True
    try:
        return get_object(str(target))
    except Exception:
        return None
    finally:
        log.disabled = was_disabled
