"""A call from Python leaves the process as it was, whether it succeeds or fails."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from tests.conftest import TINY, series_rows, write_csv

import cellstate
from cellstate.errors import CellstateError
from cellstate.report.rebuild import write_report
from cellstate.scoring.predict import predict_file

LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "matplotlib", "hydra", "wandb", "optuna", "urllib3")


def surroundings() -> dict[str, dict[Any, Any]]:
    """What a library shares with whoever calls it, by kind and name."""
    loggers = {name: logging.getLogger(name) for name in (None, *LOGGERS)}
    return {
        "generator": {
            "random": random.getstate(),
            "numpy": repr(np.random.get_state()),
            "torch": torch.get_rng_state().tolist(),
        },
        "torch": {
            "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
            "gradients": torch.is_grad_enabled(),
            "default type": torch.get_default_dtype(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "warns where it is not": torch.is_deterministic_algorithms_warn_only_enabled(),
            "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        },
        "environment": dict(os.environ),
        "signal": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "warnings": {"filters": list(warnings.filters), "shown by": warnings.showwarning},
        "level": {name: logger.level for name, logger in loggers.items()},
        "disabled": {name: logger.disabled for name, logger in loggers.items()},
        "handlers": {name: list(logger.handlers) for name, logger in loggers.items()},
        "python": {
            "folder": Path.cwd(),
            "path": list(sys.path),
            "command line": list(sys.argv),
            "streams": (sys.stdout, sys.stderr),
            "hooks": (sys.excepthook, threading.excepthook, sys.displayhook),
            "threads": [thread.name for thread in threading.enumerate() if not thread.daemon],
        },
        "matplotlib": dict(mpl.rcParams),
        "hydra": {"initialised": GlobalHydra.instance().is_initialized()},
    }


def differing(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> list[Any]:
    """Return the keys whose values are not the same."""
    return [key for key in {**before, **after} if key not in before or key not in after or before[key] != after[key]]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained classifier, a trained forecaster and files, by name; what is imported has its effects here."""
    place = tmp_path_factory.mktemp("trained")
    file = write_csv(place / "load.csv", series_rows(400))
    small = ["trainer.max_epochs=1", "backbone.hidden_size=8", "data.window=48"]
    everywhere = [*LOGGED, f"logger.mlflow.tracking_uri=sqlite:///{place / 'mlflow.db'}"]
    cellstate.train(["experiment=pattern", *TINY, *everywhere, f"hydra.run.dir={place / 'classifier'}"])
    words = ["experiment=series", *small, f"data.path={file}", f"hydra.run.dir={place / 'forecaster'}"]
    cellstate.train([*words, "report=true"])
    (place / "bits.csv").write_text("1,0,1,1\n")
    (place / "other.csv").write_text(file.read_text() + "2027-01-01 00:00:00,3.5\n")
    return {path.stem: path for path in place.iterdir()}


def train(*words: str) -> None:
    cellstate.train(["experiment=pattern", *TINY, "seed=3", "trainer.deterministic=true", "hydra.run.dir=run", *words])


LOGGED = ("logger=[csv,tensorboard,mlflow,wandb]", "logger.wandb.mode=offline")
CALLS: dict[str, Callable[[dict[str, Path]], Any]] = {
    "train": lambda _: train(),
    "train, logged everywhere": lambda _: train(*LOGGED),
    "evaluate": lambda known: cellstate.evaluate(known["forecaster"]),
    "load": lambda known: cellstate.load(known["classifier"]),
    "predict": lambda known: cellstate.load(known["classifier"]).predict([[0, 1] * 10]),
    "predict a file": lambda known: predict_file(known["forecaster"], str(known["load"])),
    "inspect": lambda known: cellstate.inspect(known["classifier"], output="inspection"),
    "inspect three units": lambda _: cellstate.inspect(),
    "report": lambda known: write_report(known["forecaster"]),
    "backtest": lambda known: cellstate.backtest(known["forecaster"]),
}
FAILURES: dict[str, Callable[[dict[str, Path]], Any]] = {
    "train, as the config is wrong": lambda _: train("data.length=-1"),
    "train, as it diverges": lambda _: train("optimizer.lr=1e38", "trainer.max_epochs=50"),
    "evaluate, as the data is other": lambda known: cellstate.evaluate(
        known["forecaster"], data={"path": str(known["other"])}
    ),
    "evaluate, as the ledger is none": lambda known: cellstate.evaluate(
        known["classifier"], ledger=known["classifier"]
    ),
    "load": lambda _: cellstate.load("nowhere"),
    "predict": lambda known: cellstate.load(known["classifier"]).predict("no bits"),
    "predict a file": lambda known: predict_file(known["forecaster"], str(known["bits"])),
    "inspect": lambda known: cellstate.inspect(known["classifier"], sequence=10**9, sequences=10**9),
    "report": lambda known: write_report(known["forecaster"], data={"path": str(known["other"])}),
    "backtest": lambda known: cellstate.backtest(known["forecaster"], stride=-1),
}
CASES = [
    *(pytest.param(call, nullcontext(), id=name) for name, call in CALLS.items()),
    *(pytest.param(call, pytest.raises(CellstateError), id=f"failed: {name}") for name, call in FAILURES.items()),
]


@pytest.mark.parametrize(("call", "ending"), CASES)
@pytest.mark.usefixtures("working_folder")
def test_a_call_leaves_the_process_as_it_was(call, ending, known):
    before = surroundings()
    with ending:
        call(known)
    after = surroundings()
    changed = {f"{part}: {name}" for part in before for name in differing(before[part], after[part])}
    assert changed == set()
