"""From a config to a result: data, model, callbacks, trainer, fit, test. The one file to read first."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.strategies import FSDPStrategy
from omegaconf import DictConfig, OmegaConf

from cellstate import checkpoint, report
from cellstate.callbacks import Checkpoints, FiniteLoss, History, Watched
from cellstate.callbacks.position import whole_epochs
from cellstate.config import check as checking
from cellstate.config.check import debugged, recorded
from cellstate.config.compose import lock_in_sweep
from cellstate.data import SequenceData
from cellstate.debug import Preset
from cellstate.distributed import together
from cellstate.errors import RunError
from cellstate.logger import Tracking
from cellstate.model import SequenceModel, parameters_of
from cellstate.runs.discard import discard_unclaimed
from cellstate.runs.folder import Bystander, RunFolder, shortest
from cellstate.runs.ledger import Ledger, spoken
from cellstate.runs.provenance import provenance
from cellstate.runs.quiet import quiet_libraries
from cellstate.runs.stopping import Stopped, StopRequest
from cellstate.runs.watching import PrunedError, present_watcher
from cellstate.scoring.scores import look, references
from cellstate.training import summary
from cellstate.training.build import arguments, build_data, build_model, build_preset, build_trainer

KEYS = (
    *("experiment", "debug", "seed", "data", "model", "backbone", "optimizer", "scheduler"),
    *("callbacks", "checkpoint", "trainer", "logger", "sweep"),
    *("test", "ledger", "report", "run", "resume", "trust", "quiet"),
)


@dataclass
class Run:
    """What a finished run leaves in memory; the same lies in its folder."""

    folder: Path
    metrics: dict[str, Any]  # the content of metrics.json
    history: list[dict[str, float]]  # a row an epoch, as metrics.csv
    model: SequenceModel  # with the weights of the best checkpoint
    data: SequenceData
    config: dict[str, Any]
    looks: int | None = None  # how often this data's test split had been scored by then; None where it was not

    @property
    def checkpoint(self) -> Path:
        """The best checkpoint, which holds all it takes to evaluate and to predict."""
        return self.folder / "checkpoints" / "best.ckpt"


def run(config: DictConfig, folder: Path, *, again: bool = False) -> Run:
    """Train one model on one data set, test it, and leave everything in ``folder``.

    Args:
        config: the composed config.
        folder: the run's own.
        again: go on with the run that ``folder`` holds, from its newest checkpoint, as if it had never stopped.

    Raises:
        RequestError: the config or the data cannot be used; nothing was written.
        RunError: the training diverged, or the disk is full; the folder says so.
        PrunedError: whoever looks on gave it up; ``checkpoints/last.ckpt`` holds what was reached.
        KeyboardInterrupt: the user stopped it; ``checkpoints/last.ckpt`` holds what was reached.
    """
    began = time.monotonic()
    lock_in_sweep(config)
    checking.check(config, KEYS)
    preset = build_preset(config)
    with quiet_libraries():
        L.seed_everything(config.seed, workers=True, verbose=False)
        data = build_data(config)
        if not config.test:
            data.lock_test()
        model = build_model(config, data)
        record = recorded_facts(config, data, model, preset)
        checking.check_monitors(config, record["reference"])
        preset.prepare(data)
        stop = StopRequest()
        keeper = Checkpoints(folder / "checkpoints", record, stop, **arguments(config.checkpoint))
        history = History(folder / "metrics.csv")
        tracking = Tracking(history, keeper.monitor)
        callbacks = [*preset.callbacks(), history, FiniteLoss(), keeper, tracking, *onlookers(history, stop)]
        trainer = build_trainer(config, folder, callbacks, preset.profiler())
        preset.check(trainer, again=again)
        ledger = Ledger(config.ledger)
        if data.reported_split == "test" and trainer.is_global_zero:
            ledger.check()
        claimed = claim(trainer, folder, record, again=again)
        job = {"config": record["config"], "folder": str(folder.resolve()), "again": again}
        with (
            claimed.recording(),
            stop.listening(),
            tracking.recording(trainer, claimed, record, resumed=again),
            passing_on_interruption(trainer, keeper),
            together(trainer, take_part, job, f"; {way_on(folder)}"),
        ):
            if not config.quiet and trainer.is_global_zero:
                summary.announce(config, data, model, folder)
            fit(trainer, model, data, keeper, history)
            seconds = {"fit": history.seconds}
            before_test = time.monotonic()
            tester, model = tester_of(trainer, model, data, config)
            looks = test(tester, model, data, keeper, ledger)
            seconds["test"] = time.monotonic() - before_test
            seconds["total"] = time.monotonic() - began
            metrics = collect(record, model, trainer, keeper, seconds)
            if preset.name:
                metrics["debug"] = {"preset": preset.name, **preset.record()}
            claimed.write_json("metrics.json", metrics)
            if trainer.is_global_zero:
                keeper.previous_path.unlink(missing_ok=True)  # nothing goes on from it again
            preset.conclude(folder, quiet=config.quiet or not trainer.is_global_zero)
        if config.report and trainer.is_global_zero:
            write_report(folder, metrics, history.rows, data, model)
        tracking.conclude(metrics, lambda: report.tables(metrics, history.rows, data, model))
    if not config.quiet and trainer.is_global_zero:
        if preset.scores_splits:
            summary.conclude(metrics, data, model, folder, None if looks is None else spoken(looks, ledger.path))
        tracking.tell()
    return Run(folder, metrics, history.rows, model, data, record["config"], looks)


def take_part(config: dict[str, Any], folder: str, again: bool) -> None:
    """Do the part of a process that the first one of a run started (``distributed.launcher``)."""
    run(OmegaConf.create({**config, "quiet": True, "logger": {}}), Path(folder), again=again)


def recorded_facts(config: DictConfig, data: SequenceData, model: SequenceModel, preset: Preset) -> dict[str, Any]:
    """Return what cellstate keeps in every checkpoint of a run, beside Lightning's own state."""
    return {
        "config": recorded(config),
        "spec": data.spec.as_dict(),
        "fingerprint": data.fingerprint,
        "split": data.split_record,
        "test_locked": data.test_locked,
        "reference": references(data, model) if preset.scores_splits else {},
        **provenance(),
    }


def onlookers(history: History, stop: StopRequest) -> list[L.Callback]:
    """Return what tells a search of each validation, if one looks on."""
    watcher = present_watcher()
    return [] if watcher is None else [Watched(watcher, history, stop)]


def claim(trainer: L.Trainer, folder: Path, record: dict[str, Any], *, again: bool) -> RunFolder:
    """Claim the run folder, or take it over again; of several processes the first one does."""
    if not trainer.is_global_zero:
        discard_unclaimed(folder)  # where each process was started by its own command line, each has made one
        return Bystander(folder)
    config, data = record["config"], {"data": record["fingerprint"]}
    if again:
        claimed = RunFolder.reclaim(folder, **data)
    else:
        where_from = {name: record[name] for name in ("versions", "git", "machine")}
        debug = {"debug": preset} if (preset := debugged(config)) else {}
        claimed = RunFolder.claim(
            folder, experiment=config["experiment"], seed=config["seed"], **data, **where_from, **debug
        )
        OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    claimed.update(device=str(trainer.strategy.root_device), processes=trainer.world_size)
    return claimed


def fit(trainer: L.Trainer, model: SequenceModel, data: SequenceData, keeper: Checkpoints, history: History) -> None:
    """Train; what was trained after the last validation, where time or steps ended the run, is scored and kept too."""
    newest = keeper.newest()
    if newest == keeper.previous_path and keeper.last_path.exists() and trainer.is_global_zero:
        print(f"cellstate: warning: {keeper.last_path} is damaged; going on from {newest}", file=sys.stderr)
    with passing_on_interruption(trainer, keeper):
        try:
            trainer.fit(model, datamodule=data, ckpt_path=newest and str(newest), weights_only=True)
            if keeper.scored_step != trainer.global_step:
                trainer.validate(model, datamodule=data, verbose=False)
                history.add(trainer, model)
                keeper.keep(trainer)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            raise RunError(
                f"out of memory at step {trainer.global_step} ({str(error).splitlines()[0]}); "
                "set a smaller data.batch_size or backbone.hidden_size"
            ) from error


@contextmanager
def passing_on_interruption(trainer: L.Trainer, keeper: Checkpoints) -> Iterator[None]:
    """Pass Ctrl-C on as such, saying where it struck: Lightning ends the process on it, and stays deaf to the next."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        yield
    except (Stopped, SystemExit) as error:
        if isinstance(error, Stopped) and keeper.stop.given_up is not None:
            raise PrunedError(keeper.stop.given_up) from error
        held = keeper.last_path if keeper.last_path.exists() else None
        raise KeyboardInterrupt(
            f"interrupted at step {trainer.global_step} (epoch {trainer.current_epoch})"
            + (f"; {held} holds what was reached; {way_on(held.parent.parent)}" if held else "")
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():  # no other may set signal handlers
            signal.signal(signal.SIGINT, on_interrupt)


def way_on(folder: Path) -> str:
    """Return in words how a run is gone on with."""
    return f"go on with: cellstate train run={shortest(folder)}"


def tester_of(
    trainer: L.Trainer, model: SequenceModel, data: SequenceData, config: DictConfig
) -> tuple[L.Trainer, SequenceModel]:
    """Return trainer and model to test with: those of the training, but whole ones where that has cut them in pieces.

    Weights that are sharded among processes cannot take those of a file, nor predict in one process alone.
    """
    if not isinstance(trainer.strategy, FSDPStrategy):
        return trainer, model
    whole = OmegaConf.merge(config, {"trainer": {"strategy": "ddp"}, "logger": {}})
    assert isinstance(whole, DictConfig)
    return build_trainer(whole, Path(trainer.default_root_dir), []), build_model(config, data)


def test(
    trainer: L.Trainer, model: SequenceModel, data: SequenceData, keeper: Checkpoints, ledger: Ledger
) -> int | None:
    """Load the best weights, score the test split if there is one to score, and record that in the best checkpoint.

    Returns:
        How often this data's test split had been looked at by then; None where it was not, or another process knows.
    """
    if not keeper.best_path.exists():
        raise RunError("no checkpoint was written: the run ended before its first validation")
    best = checkpoint.read(keeper.best_path)
    model.load_state_dict(best["state_dict"])
    model.results = dict(best[checkpoint.KEY]["metrics"])
    looks = None
    if "test" in data.prepared.splits:
        kept = model.results
        if trainer.is_global_zero:
            ledger.open()
        with passing_on_interruption(trainer, keeper):
            trainer.test(model, datamodule=data, verbose=False)
        model.results = {**kept, "test": model.results["test"]}
        best[checkpoint.KEY]["metrics"] = dict(model.results)
        if trainer.is_global_zero:
            looks = ledger.add(look("train", best, keeper.best_path, model, data, model.results["test"]))
            checkpoint.write(best, keeper.best_path)
    model.eval()
    return looks


def collect(
    record: dict[str, Any], model: SequenceModel, trainer: L.Trainer, keeper: Checkpoints, seconds: dict[str, float]
) -> dict[str, Any]:
    """Return the content of ``metrics.json``."""
    return {
        "experiment": record["config"]["experiment"],
        "seed": record["config"]["seed"],
        "parameters": parameters_of(model),
        "epochs": whole_epochs(trainer),
        "steps": trainer.global_step,
        "train": model.results.get("train", {}),
        "val": model.results.get("val", {}),
        "test": model.results.get("test", {}),
        "reference": record["reference"],
        "best": keeper.best,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def write_report(folder: Path, *parts: Any) -> None:
    """Write figures and page of a run that is complete; whatever goes wrong there is told, and loses nothing."""
    try:
        report.write(folder, *parts)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"cellstate: warning: {folder / 'report.html'} was not written ({reason})", file=sys.stderr)
