"""Evaluate a checkpoint on its own data, rebuilt from the checkpoint alone."""

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
from cellstate.scoring.rebuild import FILES, rebuilding
from cellstate.scoring.scores import look, references
from cellstate.scoring.session import Stored, naming, open_checkpoint

ALIASES = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}
PRECISIONS = (
    *("32-true", "64-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true"),
    *("transformer-engine", "transformer-engine-float16"),
)
ACCELERATORS = ("cpu", "gpu", "auto")
MOST_THREADS = 256  # an untrusted checkpoint must not start an excessive number of threads


@dataclass(frozen=True)
class Evaluation:
    """Scores of a checkpoint computed again, and the recorded ones.

    Attributes:
        checkpoint: the file.
        metrics: split -> metric -> value, computed now.
        recorded: the same as recorded in the checkpoint.
        reference: metric -> predictor -> score of optimum and baselines on the reported split.
        experiment: name of the experiment.
        seed: seed of the run.
        overridden: settings that differ from the record: key -> (recorded, current) value.
        other_data: for data other than that of the checkpoint: source, recorded and current fingerprint.
        causes: possible reasons for numerical differences, the most likely first.
        test_locked: whether the test split was locked.
        new_splits: splits without recorded scores, as the run did not use them.
        looks: how often the test split of this data has been evaluated; None if it was not.
        debug: the debug preset of the run; None for a regular run.
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
        """Name, recorded value and current value of every recorded metric."""
        return [
            (f"{split}/{name}", value, self.metrics[split].get(name, math.nan))
            for split in self.metrics
            for name, value in self.recorded.get(split, {}).items()
        ]

    @property
    def differing(self) -> list[tuple[str, float, float]]:
        """The rows of ``compared`` that are not bit-identical."""
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
    """Evaluate a checkpoint on its own validation and test split, rebuilt from its config.

    Raises:
        RequestError: the checkpoint is invalid, its data has changed, or the device or precision is not available.
    """
    stored = open_checkpoint(checkpoint, trust=trust)
    file, record = stored.file, stored.record
    changes = dict(data or {})
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


def matching_data(stored: Stored, changes: Mapping[str, Any], *, allow_changed: bool, test: bool) -> SequenceData:
    """Return the data of a checkpoint, or other data if allowed; ``test=False`` locks its test split.

    Other data keeps its own fingerprint, but uses the scaler, vocabulary and classes of the training data.

    Raises:
        RequestError: the data has changed and that is not allowed, or it is incompatible with the model.
    """
    record, datamodule = stored.record, stored.read_data(**changes)
    found = datamodule.fingerprint
    if found != record["fingerprint"] and not allow_changed:
        raise RequestError(
            f"{stored.file}: {source(record, changes)} is not the data that this model was trained on "
            f"(fingerprint {found[:12]}, recorded {record['fingerprint'][:12]}); give the original file with "
            "data.path=FILE, or evaluate on this data with allow_changed_data=true"
        )
    if found != record["fingerprint"]:
        datamodule = stored.data(**changes)
        with naming(stored.file), rebuilding("data"):
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
    """Return a Trainer with the settings of the run of this checkpoint, unless overridden.

    Raises:
        RequestError: the precision or the device is not available.
    """
    if accelerator not in (None, *ACCELERATORS):
        raise RequestError(f"accelerator={accelerator}: should be one of {', '.join(ACCELERATORS)}")
    recorded = part_of(stored.record["config"], "trainer")
    key = f"{stored.file}: the checkpoint's config: trainer.precision" if precision is None else "precision"
    asked = recorded.get("precision") if precision is None else precision
    chosen: Any = unified(asked)
    if chosen not in PRECISIONS:
        raise RequestError(f"{key}={shown(asked)}: unknown precision{did_you_mean(chosen, PRECISIONS)}")
    # The recorded scores of a run that evaluated only a part of a split are those of that part.
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
            raise RequestError("accelerator=gpu: no GPU is available; omit it, or use accelerator=auto") from error
        raise RequestError(f"{key}={chosen}: not supported here ({reason})") from error
    return check_number(trainer, "devices")


def computed_on(record: Mapping[str, Any], accelerator: str | None, devices: int | None) -> tuple[str, int]:
    """Return accelerator and number of processes as requested, else as recorded if available.

    Raises:
        RequestError: ``devices`` is less than 1.
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
    """Return split -> metric -> value, and possible reasons for differences from the record."""
    with threads_of(record, trainer), computable(trainer):
        if data.validates:
            trainer.validate(model, datamodule=data, verbose=False)
        if data.reported_split == "test":
            trainer.test(model, datamodule=data, verbose=False)
        here = {"versions": versions(), "machine": {**machine(), **computing(trainer)}}
    metrics = {split: values for split, values in model.results.items() if split != "train"}
    return metrics, tuple(differences(record, here))


def part_of(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of an untrusted record; empty if there is none."""
    part = record.get(name)
    return part if isinstance(part, Mapping) else {}


def unified(precision: Any) -> str:
    """Return Lightning's full name of a precision: ``32-true`` for 32."""
    name = "32-true" if precision is None else str(precision)
    return ALIASES.get(name, name)


def is_limit(value: Any) -> bool:
    """Return whether a recorded value limits the number or fraction of batches."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return value > 0 and (isinstance(value, int) or value <= 1)


@contextmanager
def threads_of(record: Mapping[str, Any], trainer: L.Trainer) -> Iterator[None]:
    """Use the recorded number of CPU threads, on which the order of summation, and so the last bits, depend."""
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
    """Turn errors of unsupported precision or insufficient memory into one line."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        reason, place = str(error).splitlines()[0], trainer.strategy.root_device.type
        if "memory" in reason:
            raise RequestError(f"out of memory on {place} ({reason}); set a smaller data.batch_size") from error
        if "not implemented for" in reason or "dtype" in reason:
            raise RequestError(f"precision={trainer.precision}: not supported on {place} ({reason})") from error
        raise


def overridden(
    record: Mapping[str, Any],
    changes: Mapping[str, Any],
    trainer: L.Trainer,
    *,
    precision: str | int | None,
    devices: int | None,
) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ from the record, by request or necessity: key -> (recorded, current)."""
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
        if key not in FILES and config["data"].get(key) != value:
            found[f"data.{key}"] = config["data"].get(key), value
    return found


def source(record: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    """Return a name for a checkpoint's data: its files, or its class."""
    asked = {**record["config"]["data"], **changes}
    files = [str(asked[key]) for key in FILES if asked.get(key)]
    return " and ".join(files) or f"data={str(asked['_target_']).rsplit('.', 1)[-1]}"
