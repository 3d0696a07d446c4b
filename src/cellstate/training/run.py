"""One run: prepare, fit, test, publish. The file to read first."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.strategies import FSDPStrategy
from omegaconf import DictConfig, OmegaConf

from cellstate import checkpoint, report
from cellstate.callbacks import Checkpoints, FiniteLoss, History, Watched
from cellstate.callbacks.monitors import check_monitors, monitors
from cellstate.callbacks.position import whole_epochs
from cellstate.config.check import debugged
from cellstate.data import SequenceData
from cellstate.debug import Preset
from cellstate.distributed import together
from cellstate.errors import RequestError, RunError, warn
from cellstate.logger import Tracking
from cellstate.metrics.table import MONITOR, TRAINING_LOSS
from cellstate.model import SequenceModel, parameters_of
from cellstate.runs.discard import discard_unclaimed
from cellstate.runs.folder import Bystander, RunFolder
from cellstate.runs.isolation import isolated
from cellstate.runs.ledger import Ledger, spoken
from cellstate.runs.provenance import provenance
from cellstate.runs.quiet import quiet_libraries
from cellstate.runs.stopping import StopRequest
from cellstate.runs.watching import present_watcher
from cellstate.scoring.scores import look, metrics_of, references
from cellstate.training import summary
from cellstate.training.build import build_data, build_model, build_trainer
from cellstate.training.fit import fit, passing_on_interruption, resume_hint
from cellstate.training.settings import Settings, resolve


@dataclass
class Run:
    """A finished run in memory; the same content is in its folder."""

    folder: Path
    metrics: dict[str, Any]  # the content of metrics.json
    history: list[dict[str, float]]  # one row per validation, as in metrics.csv
    model: SequenceModel  # with the weights of the best checkpoint
    data: SequenceData
    config: dict[str, Any]
    looks: int | None = None  # how often the test split of this data has been scored; None if it was not

    @property
    def checkpoint(self) -> Path:
        """The best checkpoint, which is sufficient to evaluate and to predict."""
        return self.folder / "checkpoints" / "best.ckpt"


def run(config: DictConfig, folder: Path, *, again: bool = False) -> Run:
    """Train one model on one data set, test it, and write the results to ``folder``.

    Args:
        config: the composed config.
        folder: the run folder.
        again: resume the run in ``folder`` from its newest checkpoint, with the result of an uninterrupted run.

    Raises:
        RequestError: the config or the data is invalid; nothing was written.
        RunError: the training diverged, or the disk is full; recorded in ``manifest.json``.
        PrunedError: the search pruned it; ``checkpoints/last.ckpt`` has its state.
        KeyboardInterrupt: the user stopped it; ``checkpoints/last.ckpt`` has its state.
    """
    began = time.monotonic()
    settings = resolve(config)
    with quiet_libraries(), isolated(settings.seed):
        job = prepare(settings, folder, again=again)
        with in_progress(job) as claimed:
            if job.speaks:
                summary.announce(settings, job.data, job.model, job.trainer, folder)
            fit(job.trainer, job.model, job.data, job.keeper, job.history)
            tested = test(job)
            metrics = collect(job, tested, seconds=time.monotonic() - began)
            publish(job, metrics, claimed)
        if settings.report and job.trainer.is_global_zero:
            write_report(folder, metrics, job.history.rows, job.data, tested.model)
        job.tracking.finish(metrics, lambda: report.tables(metrics, job.history.rows, job.data, tested.model))
    if job.speaks:
        if job.preset.scores_splits:
            looks = None if tested.looks is None else spoken(tested.looks, job.ledger.path)
            summary.print_results(metrics, job.data, tested.model, folder, looks)
        job.tracking.print_places()
    return Run(folder, metrics, job.history.rows, tested.model, job.data, job.record["config"], tested.looks)


# ------------------------------------------------------------------ prepare


@dataclass
class Job:
    """The parts of a run, built and checked before anything is written.

    Attributes:
        record: cellstate's part of every checkpoint of the run.
        again: whether the run is resumed.
    """

    settings: Settings
    folder: Path
    again: bool
    data: SequenceData
    model: SequenceModel
    preset: Preset
    record: dict[str, Any]
    stop: StopRequest
    keeper: Checkpoints
    history: History
    tracking: Tracking
    trainer: L.Trainer
    ledger: Ledger

    @property
    def speaks(self) -> bool:
        """Whether this process prints the summary of the model and the table of results."""
        return not self.settings.quiet and self.trainer.is_global_zero


def prepare(settings: Settings, folder: Path, *, again: bool) -> Job:
    """Build data, model, callbacks, loggers and trainer.

    Raises:
        RequestError: a part cannot be built, or parts are incompatible.
    """
    preset: Preset = settings.debug.build() if settings.debug else Preset()
    data = build_data(settings)
    if not settings.test:
        data.lock_test()
    if preset.scores_splits and data.reported_split not in data.prepared.splits:
        raise RequestError(
            "data.split: there is no validation split, and no test split that may be scored; give a share to "
            "validation, such as data.split=[0.8,0.2,0]"
        )
    model = build_model(settings, data)
    model.fit_closed_form(data)
    record = recorded_facts(settings, data, model, preset)
    check_monitors(settings.monitoring(), known_metrics(settings, record["reference"], model, data))
    preset.prepare(data)
    stop = StopRequest()
    keeper = Checkpoints(folder / "checkpoints", record, stop, **choice_of_weights(settings, data))
    history = History(folder / "metrics.csv")
    tracking = Tracking(history, keeper.monitor)
    watching = [Watched(watcher, history, stop)] if (watcher := present_watcher()) else []
    callbacks = [*preset.callbacks(), history, FiniteLoss(), keeper, tracking, *watching]
    trainer = build_trainer(settings, folder, callbacks, preset.profiler())
    preset.check(trainer, again=again)
    ledger = Ledger(settings.ledger)
    if data.reported_split == "test" and trainer.is_global_zero:
        ledger.check()
    return Job(settings, folder, again, data, model, preset, record, stop, keeper, history, tracking, trainer, ledger)


def recorded_facts(settings: Settings, data: SequenceData, model: SequenceModel, preset: Preset) -> dict[str, Any]:
    """Return cellstate's part of every checkpoint of a run."""
    return {
        "config": settings.recorded,
        "spec": data.spec.as_dict(),
        "fingerprint": data.fingerprint,
        "split": data.split_record,
        "test_locked": data.test_locked,
        "reference": references(data, model) if preset.scores_splits else {},
        **provenance(),
    }


def known_metrics(
    settings: Settings, reference: Mapping[str, Any], model: SequenceModel, data: SequenceData
) -> set[str]:
    """Return the metrics that the run will have; the network is evaluated only if references do not cover them."""
    if not data.validates:
        return {TRAINING_LOSS}
    known = {TRAINING_LOSS, MONITOR, *(f"val/{name}" for name in reference)}
    wanted = monitors(settings.monitoring())
    return known if wanted <= known or "val" not in data.prepared.splits else known | metrics_of(model, data, wanted)


def choice_of_weights(settings: Settings, data: SequenceData) -> dict[str, Any]:
    """Return the arguments of the checkpoint callback; without a validation split the last weights are kept.

    Raises:
        RequestError: the best weights are requested, but there is no validation split.
    """
    chosen = dict(settings.checkpoint)
    if data.validates:
        return chosen
    if chosen.get("keep") != "last":
        raise RequestError(
            "checkpoint.keep=best: there is no validation split to choose the best weights by; set "
            "checkpoint.keep=last, or give a share to validation, such as data.split=[0.7,0.15,0.15]"
        )
    return {**chosen, "monitor": chosen.get("monitor") or TRAINING_LOSS}


@contextmanager
def in_progress(job: Job) -> Iterator[RunFolder]:
    """Claim the run folder, start the other processes, handle signals, and record how the run ends."""
    claimed = claim(job)
    work = {"config": job.record["config"], "folder": str(job.folder.resolve()), "again": job.again}
    with ExitStack() as stack:
        stack.enter_context(claimed.recording())
        stack.enter_context(job.stop.listening())
        stack.enter_context(job.tracking.recording(job.trainer, claimed, job.record, resumed=job.again))
        stack.enter_context(passing_on_interruption(job.trainer, job.keeper))
        stack.enter_context(together(job.trainer, take_part, work, f"; {resume_hint(job.folder)}"))
        yield claimed


def take_part(config: dict[str, Any], folder: str, again: bool) -> None:
    """Run in a process that the first process started (see ``distributed.launcher``)."""
    run(OmegaConf.create({**config, "quiet": True, "logger": {}}), Path(folder), again=again)


def claim(job: Job) -> RunFolder:
    """Claim the run folder, or reclaim it to resume; only the first process does."""
    folder, record = job.folder, job.record
    if not job.trainer.is_global_zero:
        discard_unclaimed(folder)  # each process creates one if it was started by its own command line
        return Bystander(folder)
    config, data = record["config"], {"data": record["fingerprint"]}
    if job.again:
        claimed = RunFolder.reclaim(folder, **data)
    else:
        where_from = {name: record[name] for name in ("versions", "git", "machine")}
        debug = {"debug": preset} if (preset := debugged(config)) else {}
        claimed = RunFolder.claim(
            folder, experiment=config["experiment"], seed=config["seed"], **data, **where_from, **debug
        )
        OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    claimed.update(device=str(job.trainer.strategy.root_device), processes=job.trainer.world_size)
    return claimed


# ------------------------------------------------------------------ test


@dataclass(frozen=True)
class Tested:
    """The model with the best weights and its scores.

    Attributes:
        looks: how often the test split of this data has been evaluated; None if it was not, or in other processes.
        seconds: duration of the test.
    """

    model: SequenceModel
    looks: int | None
    seconds: float


def test(job: Job) -> Tested:
    """Load the best weights, score the test split if it is available, and record the scores in the checkpoint."""
    began = time.monotonic()
    keeper, trainer = job.keeper, job.trainer
    if not keeper.best_path.exists():
        raise RunError("no checkpoint was written: the run ended before its first validation")
    tester, model = tester_of(job)
    best = checkpoint.read(keeper.best_path)
    model.load_state_dict(best["state_dict"])
    model.results = dict(best[checkpoint.KEY]["metrics"])
    looks = None
    if "test" in job.data.prepared.splits:
        kept = model.results
        if trainer.is_global_zero:
            job.ledger.open()
        with passing_on_interruption(tester, keeper):
            tester.test(model, datamodule=job.data, verbose=False)
        model.results = {**kept, "test": model.results["test"]}
        best[checkpoint.KEY]["metrics"] = dict(model.results)
        if trainer.is_global_zero:
            looks = job.ledger.add(look("train", best, keeper.best_path, model, job.data, model.results["test"]))
            checkpoint.write(best, keeper.best_path)
    model.eval()
    return Tested(model, looks, time.monotonic() - began)


def tester_of(job: Job) -> tuple[L.Trainer, SequenceModel]:
    """Return trainer and model for the test: those of the training, or unsharded ones after FSDP.

    Sharded weights cannot be loaded from a file, nor used for prediction in a single process.
    """
    if not isinstance(job.trainer.strategy, FSDPStrategy):
        return job.trainer, job.model
    unsharded = job.settings.with_strategy("ddp")
    return build_trainer(unsharded, job.folder, []), build_model(unsharded, job.data)


# ------------------------------------------------------------------ publish


def collect(job: Job, tested: Tested, *, seconds: float) -> dict[str, Any]:
    """Return the content of ``metrics.json``; ``seconds`` is the total duration."""
    taken = {"fit": job.history.seconds, "test": tested.seconds, "total": seconds}
    metrics = {
        "experiment": job.settings.experiment,
        "seed": job.settings.seed,
        "parameters": parameters_of(tested.model),
        "epochs": whole_epochs(job.trainer),
        "steps": job.trainer.global_step,
        **{split: tested.model.results.get(split, {}) for split in ("train", "val", "test")},
        "reference": job.record["reference"],
        "headline": {"metric": tested.model.headline.metric, "label": tested.model.headline.label},
        "best": job.keeper.best,
        "seconds": {name: round(value, 3) for name, value in taken.items()},
    }
    if job.preset.name:
        metrics["debug"] = {"preset": job.preset.name, **job.preset.record()}
    return metrics


def publish(job: Job, metrics: dict[str, Any], claimed: RunFolder) -> None:
    """Write ``metrics.json``, which completes the run."""
    claimed.write_json("metrics.json", metrics)
    if job.trainer.is_global_zero:
        job.keeper.previous_path.unlink(missing_ok=True)  # not needed to resume any more
    job.preset.finish(job.folder, quiet=not job.speaks)


def write_report(folder: Path, *parts: Any) -> None:
    """Write figures and page of a completed run; errors become warnings."""
    try:
        report.write(folder, *parts)
    except Exception as error:
        warn(f"{folder / 'report.html'} was not written ({type(error).__name__}: {error})")
