"""Scoring a checkpoint again: everything that it takes comes from the checkpoint itself."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch

from cellstate.checkpoint.trust import trusted_packages
from cellstate.config import options
from cellstate.config.check import debugged, shown
from cellstate.data import DataSpec, SequenceData
from cellstate.distributed import check_number, environment, together
from cellstate.errors import RequestError, did_you_mean
from cellstate.model import SequenceModel
from cellstate.runs.folder import machine, versions
from cellstate.runs.isolation import isolated
from cellstate.runs.ledger import Ledger
from cellstate.runs.provenance import computing, differences
from cellstate.runs.quiet import quiet_libraries
from cellstate.scoring.rebuild import refusing
from cellstate.scoring.scores import look, references
from cellstate.scoring.session import Stored, naming, open_checkpoint

ALIASES = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}
PRECISIONS = (
    *("32-true", "64-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true"),
    *("transformer-engine", "transformer-engine-float16"),
)
ACCELERATORS = ("cpu", "gpu", "auto")
MOST_THREADS = 256  # a checkpoint may be anybody's: it cannot have a process start threads without end
PLACES = ("path", "test_path")  # arguments of data that say where it lies, not what it is


@dataclass(frozen=True)
class Evaluation:
    """Scores computed anew from a checkpoint, beside those that it recorded.

    Attributes:
        checkpoint: the file.
        metrics: split -> metric -> value, computed now.
        recorded: the same, as they were recorded.
        reference: metric -> name -> score of optimum and trivial predictors on the reported split.
        experiment: its name.
        seed: of the run.
        overridden: what was asked to be another than recorded: key -> recorded and present value.
        other_data: where the data is not that of the checkpoint: its source, recorded and found fingerprint.
        causes: what may make the arithmetic differ from what was recorded, the likeliest first.
        test_locked: whether the test split was left alone, as asked.
        new_splits: splits that the checkpoint has no scores of, as the run never read them.
        looks: how often this data's test split had been looked at by then; None where it was not.
        debug: the preset that the run was debugged with; None for a run whose scores are results.
    """

    checkpoint: Path
    metrics: dict[str, dict[str, float]]
    recorded: dict[str, dict[str, float]]
    reference: dict[str, dict[str, float]]
    experiment: str
    seed: int
    overridden: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    other_data: tuple[str, str, str] | None = None
    causes: tuple[str, ...] = ()
    test_locked: bool = False
    new_splits: tuple[str, ...] = ()
    looks: int | None = None
    debug: str | None = None

    @property
    def compared(self) -> list[tuple[str, float, float]]:
        """Name, recorded value and value computed now, for every metric that the checkpoint recorded."""
        return [
            (f"{split}/{name}", value, self.metrics[split].get(name, math.nan))
            for split in self.metrics
            for name, value in self.recorded.get(split, {}).items()
        ]

    @property
    def differing(self) -> list[tuple[str, float, float]]:
        """Those of ``compared`` that are not identical to the last bit."""
        return [row for row in self.compared if row[1] != row[2] and not (math.isnan(row[1]) and math.isnan(row[2]))]


@options.documented
def evaluate(
    checkpoint: options.Checkpoint,
    data: options.Changes = None,
    *,
    precision: options.Precision = None,
    accelerator: options.Accelerator = None,
    devices: options.Devices = None,
    allow_changed_data: options.ChangedData = False,
    test: options.ScoreTest = True,
    ledger: options.Ledger = options.LEDGER,
    trust: options.Trust = (),
) -> Evaluation:
    """Score a checkpoint on its own validation and test split, rebuilt from its own config.

    Raises:
        RequestError: the checkpoint cannot be used, its data is not what it was trained on, or there is no such device
            or precision.
    """
    stored = open_checkpoint(checkpoint, trust=trust)
    file, record = stored.file, stored.record
    changes = dict(data or {})
    check_batch_size(changes)
    with quiet_libraries(), isolated(record["config"]["seed"]):
        datamodule = matching_data(stored, changes, allow_changed=allow_changed_data, test=test)
        model = stored.model()
        trainer = evaluation_trainer(stored, precision=precision, accelerator=accelerator, devices=devices)
        job = {"checkpoint": str(file), "data": changes, "precision": precision, "accelerator": accelerator}
        job |= {"allow_changed_data": allow_changed_data, "test": test, "trust": list(trusted_packages(trust))}
        job |= {"devices": trainer.world_size}
        book, looks = Ledger(ledger), None
        if datamodule.reported_split == "test" and trainer.is_global_zero:
            book.open()
        with together(trainer, evaluate, job):
            metrics, causes = score(trainer, model, datamodule, record)
        if "test" in metrics and trainer.is_global_zero:
            looks = book.add(look("evaluate", stored.content, file, model, datamodule, metrics["test"]))
        recorded, found = record["fingerprint"], datamodule.fingerprint
        other = None if found == recorded else (source(record, changes), recorded, found)
        was_locked = bool(record.get("test_locked"))
        as_recorded = other is None and was_locked == datamodule.test_locked
    return Evaluation(
        checkpoint=file,
        metrics=metrics,
        recorded=record["metrics"],
        reference=record["reference"] if as_recorded else references(datamodule, model),
        experiment=record["config"]["experiment"],
        seed=record["config"]["seed"],
        overridden=overridden(record, changes, trainer, precision=precision, devices=devices),
        other_data=other,
        causes=causes,
        test_locked=datamodule.test_locked,
        new_splits=("test",) if was_locked and "test" in metrics else (),
        looks=looks,
        debug=debugged(record["config"]),
    )


def check_batch_size(changes: Mapping[str, Any]) -> None:
    """Refuse a batch size that is none (RequestError)."""
    size = changes.get("batch_size", 1)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise RequestError(f"data.batch_size={shown(size)}: should be a whole number greater than 0")


def matching_data(stored: Stored, changes: Mapping[str, Any], *, allow_changed: bool, test: bool) -> SequenceData:
    """Return a checkpoint's data, or other data where that is allowed; without ``test``, its test split is locked.

    Other data keeps its own fingerprint, and is read with scaler, vocabulary and classes that the model was trained
    with.

    Raises:
        RequestError: it is other data, and that is not allowed, or nothing that the model can read.
    """
    record, datamodule = stored.record, stored.read_data(**changes)
    found = datamodule.fingerprint
    if found != record["fingerprint"] and not allow_changed:
        raise RequestError(
            f"{stored.file}: {source(record, changes)} is not the data that this model was trained and tested on "
            f"(fingerprint {found[:12]}, recorded {record['fingerprint'][:12]}); give the file as it was with "
            "data.path=FILE, or score the model on this one with allow_changed_data=true"
        )
    if found != record["fingerprint"]:
        datamodule = stored.data(**changes)
        with naming(stored.file), refusing("data"):
            datamodule.fitted = DataSpec.from_dict(record["spec"])
            _ = datamodule.prepared
        datamodule.fingerprint = found
    if not test:
        datamodule.lock_test()
    return datamodule


def evaluation_trainer(
    stored: Stored,
    *,
    precision: str | int | None = None,
    accelerator: str | None = None,
    devices: int | None = None,
) -> L.Trainer:
    """Return a Trainer that scores as the run of this checkpoint did, or as asked.

    Raises:
        RequestError: there is no such precision or device.
    """
    if accelerator not in (None, *ACCELERATORS):
        raise RequestError(f"accelerator={accelerator}: should be one of {', '.join(ACCELERATORS)}")
    recorded = part_of(stored.record["config"], "trainer")
    key = f"{stored.file}: the checkpoint's config: trainer.precision" if precision is None else "precision"
    asked = recorded.get("precision") if precision is None else precision
    chosen: Any = unified(asked)
    if chosen not in PRECISIONS:
        raise RequestError(f"{key}={shown(asked)}: there is no such precision{did_you_mean(chosen, PRECISIONS)}")
    # A run that looked at a part of a split only has recorded the scores of that part.
    limits = {key: recorded[key] for key in ("limit_val_batches", "limit_test_batches") if is_limit(recorded.get(key))}
    accelerator, devices = computed_on(stored.record, accelerator, devices)
    here = environment()
    try:
        trainer = L.Trainer(
            accelerator=accelerator, devices=devices, strategy="auto" if devices == 1 else "ddp", precision=chosen,
            plugins=None if here is None else [here], logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, deterministic=recorded.get("deterministic") is True,
            **limits,
        )  # fmt: skip
    except Exception as error:
        reason = str(error).splitlines()[0]
        if "No supported gpu backend" in reason:
            raise RequestError(
                "accelerator=gpu: there is no GPU here; leave it out, or accelerator=auto takes what there is"
            ) from error
        raise RequestError(f"{key}={chosen}: cannot be computed here ({reason})") from error
    return check_number(trainer, "devices")


def computed_on(record: Mapping[str, Any], accelerator: str | None, devices: int | None) -> tuple[str, int]:
    """Return the accelerator and the number of processes that were asked for, else those of the record that are here.

    Raises:
        RequestError: less than one process is asked for.
    """
    if devices is not None and devices < 1:
        raise RequestError(f"devices={devices}: should be a whole number greater than 0")
    machine = part_of(record, "machine")
    if accelerator is None:
        accelerator = "gpu" if machine.get("device") == "cuda" and torch.cuda.is_available() else "cpu"
    processes = machine.get("processes")
    if devices is None and accelerator == "cpu" and machine.get("device") == "cpu" and isinstance(processes, int):
        devices = processes if 1 <= processes <= (os.cpu_count() or 1) else 1
    return accelerator, devices or 1


def score(
    trainer: L.Trainer, model: SequenceModel, data: SequenceData, record: Mapping[str, Any]
) -> tuple[dict[str, dict[str, float]], tuple[str, ...]]:
    """Return split -> metric -> value, and what may make them differ from those of the record."""
    with threads_of(record, trainer), computable(trainer):
        if data.validates:
            trainer.validate(model, datamodule=data, verbose=False)
        if data.reported_split == "test":
            trainer.test(model, datamodule=data, verbose=False)
        here = {"versions": versions(), "machine": {**machine(), **computing(trainer)}}
    metrics = {split: values for split, values in model.results.items() if split != "train"}
    return metrics, tuple(differences(record, here))


def part_of(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of a record, empty where there is none: a checkpoint may be anybody's."""
    part = record.get(name)
    return part if isinstance(part, Mapping) else {}


def unified(precision: Any) -> str:
    """Return the full name of a precision, as Lightning has it: ``32-true`` for 32."""
    name = "32-true" if precision is None else str(precision)
    return ALIASES.get(name, name)


def is_limit(value: Any) -> bool:
    """Say whether a recorded value limits how many batches (or which share of them) are scored."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return value > 0 and (isinstance(value, int) or value <= 1)


@contextmanager
def threads_of(record: Mapping[str, Any], trainer: L.Trainer) -> Iterator[None]:
    """Compute on the CPU with as many threads as the record says: sums are cut by threads, and so are their bits."""
    wanted, before = part_of(record, "machine").get("threads"), torch.get_num_threads()
    if trainer.strategy.root_device.type != "cpu" or type(wanted) is not int or not 1 <= wanted <= MOST_THREADS:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def computable(trainer: L.Trainer) -> Iterator[None]:
    """Say in one line that a device does not know a precision, or has too little memory."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        reason, place = str(error).splitlines()[0], trainer.strategy.root_device.type
        if "memory" in reason:
            raise RequestError(f"out of memory on {place} ({reason}); set a smaller data.batch_size") from error
        if "not implemented for" in reason or "dtype" in reason:
            raise RequestError(f"precision={trainer.precision}: cannot be computed on {place} ({reason})") from error
        raise


def overridden(
    record: Mapping[str, Any],
    changes: Mapping[str, Any],
    trainer: L.Trainer,
    *,
    precision: str | int | None,
    devices: int | None,
) -> dict[str, tuple[Any, Any]]:
    """Return what is computed in another way than recorded, as asked or as it must be, key -> then and now."""
    config, there = record["config"], part_of(record, "machine")
    found: dict[str, tuple[Any, Any]] = {}
    then = unified(part_of(config, "trainer").get("precision"))
    if precision is not None and unified(precision) != then:
        found["precision"] = then, trainer.precision
    then, now = there.get("device"), trainer.strategy.root_device.type
    if now != then:
        found["accelerator"] = then, now
    if trainer.world_size != there.get("processes") and (devices is not None or there.get("device") != "cpu"):
        found["devices"] = there.get("processes"), trainer.world_size
    for key, value in changes.items():
        if key not in PLACES and config["data"].get(key) != value:
            found[f"data.{key}"] = config["data"].get(key), value
    return found


def source(record: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    """Return what to call a checkpoint's data: its files, or what generated it."""
    asked = {**record["config"]["data"], **changes}
    files = [str(asked[key]) for key in PLACES if asked.get(key)]
    return " and ".join(files) or f"data={str(asked['_target_']).rsplit('.', 1)[-1]}"
