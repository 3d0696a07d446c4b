"""Scoring a checkpoint again: everything that it takes comes from the checkpoint itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L

from cellstate import checkpoint as checkpoints
from cellstate.errors import RequestError
from cellstate.experiment import quiet_libraries

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
