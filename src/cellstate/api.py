"""cellstate from Python: the same as the command line, which is a thin layer over these functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L

from cellstate import checkpoint as checkpoints
from cellstate.backtesting import Backtest, roll
from cellstate.composition import compose
from cellstate.errors import RequestError
from cellstate.experiment import Run, quiet_libraries, run
from cellstate.model import SequenceModel
from cellstate.resuming import resume as go_on
from cellstate.runs.discard import discard_unclaimed

PRECISIONS = {
    "16-mixed",
    "bf16-mixed",
    "16-true",
    "bf16-true",
    "32-true",
    "64-true",
    "16",
    "bf16",
    "32",
    "64",
    16,
    32,
    64,
}

__all__ = ["Backtest", "Evaluation", "Run", "backtest", "evaluate", "load", "resume", "train"]


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
    try:
        return run(config, folder)
    except RequestError:
        discard_unclaimed(folder)
        raise


def resume(folder: str | Path, *, quiet: bool = True) -> Run | None:
    """Go on with an interrupted or killed run as if it had never stopped, as ``cellstate train run=FOLDER`` does.

    Returns:
        The run; None where it is complete already.

    Raises:
        RequestError: the folder holds no run, another process works on it, or its data is another now.
        RunError: the work failed.
    """
    return go_on(Path(folder).expanduser(), quiet=quiet)


def load(checkpoint: str | Path) -> SequenceModel:
    """Return a trained model that predicts on lists, arrays and tensors; the data is not needed.

    Args:
        checkpoint: a checkpoint file, or a run folder, whose best one is taken.

    Raises:
        RequestError: no such file, or not a checkpoint of cellstate.
    """
    return checkpoints.rebuild_model(checkpoints.read(checkpoint))


@dataclass(frozen=True)
class Evaluation:
    """Scores computed anew from a checkpoint, beside those that it recorded."""

    checkpoint: Path
    metrics: dict[str, dict[str, float]]  # split -> metric -> value
    recorded: dict[str, dict[str, float]]
    reference: dict[str, dict[str, float]]
    experiment: str
    seed: int

    @property
    def compared(self) -> list[tuple[str, float, float]]:
        """Name, recorded value and value computed now, for every metric that the checkpoint recorded."""
        return [
            (f"{split}/{name}", value, self.metrics[split][name])
            for split in self.metrics
            for name, value in self.recorded.get(split, {}).items()
        ]

    @property
    def differing(self) -> list[tuple[str, float, float]]:
        """Those of ``compared`` that are not identical to the last bit."""
        return [row for row in self.compared if row[1] != row[2]]


def evaluate(checkpoint: str | Path, data: Mapping[str, Any] | None = None) -> Evaluation:
    """Score a checkpoint on its own validation and test split, rebuilt from its own config.

    Args:
        checkpoint: a checkpoint file or a run folder.
        data: arguments of the data to change, such as ``{"path": ...}`` where the file has moved.

    Raises:
        RequestError: the checkpoint cannot be used, or its data is not what it was trained on.
    """
    file = checkpoints.find(checkpoint)
    content = checkpoints.read(file)
    record = content[checkpoints.KEY]
    with quiet_libraries():
        L.seed_everything(record["config"]["seed"], workers=True, verbose=False)
        datamodule = checkpoints.rebuild_data(content, **(data or {}))
        if datamodule.fingerprint != record["fingerprint"]:
            raise RequestError(
                f"{file}: {_source(record['config'], data)} is not the data that this model was trained and tested on "
                f"(fingerprint {datamodule.fingerprint[:12]}, recorded {record['fingerprint'][:12]}); "
                "give the file as it was with data.path=FILE, or train anew on this one"
            )
        model = checkpoints.rebuild_model(content)
        trainer = L.Trainer(
            accelerator="cpu", precision=_precision(record["config"]), logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False,
        )  # fmt: skip
        trainer.validate(model, datamodule=datamodule, verbose=False)
        if "test" in datamodule.prepared.splits:
            trainer.test(model, datamodule=datamodule, verbose=False)
    metrics = {split: values for split, values in model.results.items() if split != "train"}
    config = record["config"]
    return Evaluation(file, metrics, record["metrics"], record["reference"], config["experiment"], config["seed"])


def backtest(model: str | Path | SequenceModel, data: Any = None, *, stride: int | None = None) -> Backtest:
    """Have a trained forecaster forecast from one origin after the other, each time from what was known by then.

    Args:
        model: a checkpoint file, a run folder, or a model, such as ``cellstate.load`` gives.
        data: None for the checkpoint's own data, whose test split (else its validation split) is rolled over;
            arguments of it to change, such as ``{"path": ...}`` where the file has moved; data as ``Run.data`` holds
            it; or a series of your own, an array ``(T,)`` or ``(T, C)`` in the data's own units.
        stride: rows from one origin to the next; None takes the horizon, so that each row is forecast once.

    Raises:
        RequestError: the model is no forecaster, or the data does not fit it; see ``backtesting.roll``.
    """
    if isinstance(model, SequenceModel):
        if data is None or isinstance(data, Mapping):
            raise RequestError("a model alone does not hold its data: give data, or its checkpoint in its place")
        return roll(model, data, stride)
    content = checkpoints.read(model)
    if data is None or isinstance(data, Mapping):
        data = checkpoints.rebuild_data(content, **(data or {}))
    return roll(checkpoints.rebuild_model(content), data, stride)


def _precision(config: Mapping[str, Any]) -> Any:
    """Return the precision that a recorded config computed its scores with."""
    precision = (config.get("trainer") or {}).get("precision", "32-true")
    if precision not in PRECISIONS:
        raise RequestError(f"the checkpoint's config asks for trainer.precision={precision!r}; it was changed")
    return precision


def _source(config: Mapping[str, Any], changes: Mapping[str, Any] | None) -> str:
    """Return what to call a checkpoint's data: its file, or what generated it."""
    asked = {**config["data"], **(changes or {})}
    return str(asked.get("path") or f"data={str(asked['_target_']).rsplit('.', 1)[-1]}")
