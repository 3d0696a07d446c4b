"""cellstate from Python: the same as the command line, which is a thin layer over these functions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from cellstate.training.resume import resume as go_on
from cellstate.training.run import Run, run

__all__ = [
    "Backtest",
    "Evaluation",
    "Inspection",
    "Run",
    "backtest",
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
        overrides: what would stand on the command line, such as ``["experiment=pattern", "seed=3"]``.
        config_dir: a folder with configs of your own, as ``--config-dir`` takes it.
        quiet: print neither what is trained nor the table of results.

    Raises:
        RequestError: the request was wrong; one line for each problem.
        RunError: the work failed.
    """
    if isinstance(overrides, str):
        raise RequestError(f"overrides={overrides!r}: give a list of words, such as [{overrides!r}]")
    config, folder = compose("train", [*overrides, f"quiet={str(quiet).lower()}"], config_dir=config_dir)
    reject_search(config)
    try:
        return run(config, folder)
    except RequestError:
        discard_unclaimed(folder)
        raise


def resume(folder: str | Path, *, quiet: bool = True, trust: Trust = (), ledger: str | None = None) -> Run | None:
    """Go on with an interrupted or killed run as if it had never stopped, as ``cellstate train run=FOLDER`` does.

    Args:
        folder: the run's own; nothing in it is run.
        quiet: print neither what is trained nor the table of results.
        trust: extra packages whose classes may be loaded, such as ``["my_package"]``; they are imported.
        ledger: where looks at the test split are noted; None takes the run's own, if there is one already.

    Returns:
        The run; None where it is complete already.

    Raises:
        RequestError: the folder holds no run, another process works on it, or its data is another now.
        RunError: the work failed.
    """
    return go_on(Path(folder).expanduser(), quiet=quiet, trust=trust, ledger=ledger)


def load(checkpoint: str | Path, *, trust: Trust = ()) -> SequenceModel:
    """Return a trained model that predicts on lists, arrays and tensors; the data is not needed.

    Args:
        checkpoint: a checkpoint file, or a run folder, whose best one is taken; nothing in it is run.
        trust: extra packages whose classes may be loaded, such as ``["my_package"]``; they are imported.

    Raises:
        RequestError: no such file, not a checkpoint of cellstate, damaged, or of a class that is not trusted.
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
    """Have a trained forecaster forecast from one origin after the other, each time from what was known by then.

    Args:
        model: a checkpoint file, a run folder, or a model, such as ``cellstate.load`` gives.
        data: None for the checkpoint's own data, whose test split (else its validation split) is rolled over;
            arguments of it to change, such as ``{"path": ...}`` where the file has moved; data as ``Run.data`` holds
            it; or a series of your own, an array ``(T,)`` or ``(T, C)`` in the data's own units.
        stride: rows from one origin to the next; None takes the horizon, so that each row is forecast once.
        ledger: where a line is left if a test split is rolled over, which is a look at it.
        trust: extra packages whose classes may be loaded, such as ``["my_package"]``; they are imported.

    Raises:
        RequestError: the model is no forecaster, or the data does not fit it; see ``backtesting.roll``.
    """
    stored = None
    if not isinstance(model, (str, os.PathLike)):
        if data is None or isinstance(data, Mapping):
            raise RequestError("a model alone does not hold its data: give data, or its checkpoint in its place")
        trained = model
    else:
        stored = open_checkpoint(model, trust=trust)
        trained = stored.model()
        if data is None or isinstance(data, Mapping):
            refuse_other_tasks(trained)  # before data is read in vain
            data = stored.read_data(**(data or {}))
    if not isinstance(data, SequenceData) or data.reported_split != "test":
        return roll(trained, data, stride)
    book = Ledger(ledger)
    book.check()
    result = roll(trained, data, stride)
    content, file = (None, None) if stored is None else (stored.content, stored.file)
    book.add(look("backtest", content, file, trained, data, result.scores))
    return result
