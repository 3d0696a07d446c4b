"""The Python API, with the same functions as the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellstate.benchmarking.running import Benchmark, benchmark
from cellstate.checkpoint.trust import Trust
from cellstate.config.compose import compose, reject_search
from cellstate.data import SequenceData
from cellstate.errors import RequestError
from cellstate.inspection import Inspection, inspect, inspect_network
from cellstate.model import SequenceModel
from cellstate.model.forecasting.backtest import Backtest, refuse_other_tasks, roll
from cellstate.runs.discard import discard_unclaimed
from cellstate.runs.ledger import Ledger
from cellstate.scoring.evaluate import Evaluation, evaluate
from cellstate.scoring.scores import look
from cellstate.scoring.session import open_checkpoint
from cellstate.training.resume import resume as resume_run
from cellstate.training.run import Run, run

__all__ = [
    "Backtest",
    "Benchmark",
    "Evaluation",
    "Inspection",
    "Run",
    "backtest",
    "benchmark",
    "evaluate",
    "inspect",
    "inspect_network",
    "load",
    "resume",
    "train",
]


def train(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None, quiet: bool = True) -> Run:
    """Train one model, as ``cellstate train OVERRIDES`` does.

    Args:
        overrides: as on the command line, such as ``["experiment=pattern", "seed=3"]``.
        config_dir: a folder with custom configs, as for ``--config-dir``.
        quiet: print nothing.

    Raises:
        RequestError: invalid arguments; one line for each problem.
        RunError: training failed.
    """
    if isinstance(overrides, str):
        raise RequestError(f"overrides={overrides!r}: should be a list of strings, such as [{overrides!r}]")
    config, folder = compose("train", [*overrides, f"quiet={str(quiet).lower()}"], config_dir=config_dir)
    reject_search(config)
    try:
        return run(config, folder)
    except RequestError:
        discard_unclaimed(folder)
        raise


def resume(folder: str | Path, *, quiet: bool = True, trust: Trust = (), ledger: str | None = None) -> Run | None:
    """Resume an interrupted or killed run with the same result as without interruption.

    This is ``cellstate train run=FOLDER``.

    Args:
        folder: of the run; no code in it is executed.
        quiet: print nothing.
        trust: extra packages whose classes may be loaded, such as ``["my_package"]``; they are imported.
        ledger: file that logs evaluations on the test split; None uses that of the run, if it exists.

    Returns:
        The run; None if it is already complete.

    Raises:
        RequestError: the folder contains no run, another process is working on it, or its data has changed.
        RunError: training failed.
    """
    return resume_run(Path(folder).expanduser(), quiet=quiet, trust=trust, ledger=ledger)


def load(checkpoint: str | Path, *, trust: Trust = ()) -> SequenceModel:
    """Return a trained model that predicts on lists, arrays and tensors; the data is not needed.

    Args:
        checkpoint: a checkpoint file, or a run folder, whose best checkpoint is used; no code in it is executed.
        trust: extra packages whose classes may be loaded, such as ``["my_package"]``; they are imported.

    Raises:
        RequestError: a missing file, not a checkpoint of cellstate, a damaged one, or one with an untrusted class.
    """
    return open_checkpoint(checkpoint, trust=trust).model()


def backtest(
    model: str | Path | SequenceModel,
    data: Any = None,
    *,
    stride: int | None = None,
    ledger: str | Path = "outputs/ledger.csv",
    trust: Trust = (),
) -> Backtest:
    """Forecast with a trained model from successive origins, each time from the values known by then.

    Args:
        model: a checkpoint file, a run folder, or a model, such as from ``cellstate.load``.
        data: None for the checkpoint's data, with its test split (else its validation split); arguments of that data
            to change, such as ``{"path": ...}`` if the file has moved; data such as ``Run.data``; or a custom series,
            an array ``(T,)`` or ``(T, C)`` in the units of the data.
        stride: rows from one origin to the next; None: the horizon, so that each row is forecast once.
        ledger: file that logs the evaluation if it uses a test split.
        trust: extra packages whose classes may be loaded, such as ``["my_package"]``; they are imported.

    Raises:
        RequestError: the model is not a forecaster, or the data does not fit it; see ``backtest.roll``.
    """
    stored = None
    if not isinstance(model, (str, os.PathLike)):
        if data is None or isinstance(data, Mapping):
            raise RequestError("a model does not contain its data: pass data, or its checkpoint instead")
        trained = model
    else:
        stored = open_checkpoint(model, trust=trust)
        trained = stored.model()
        if data is None or isinstance(data, Mapping):
            refuse_other_tasks(trained)  # before reading data
            data = stored.read_data(**(data or {}))
    if not isinstance(data, SequenceData) or data.reported_split != "test":
        return roll(trained, data, stride)
    book = Ledger(ledger)
    book.check()
    result = roll(trained, data, stride)
    content, file = (None, None) if stored is None else (stored.content, stored.file)
    book.add(look("backtest", content, file, trained, data, result.scores))
    return result
