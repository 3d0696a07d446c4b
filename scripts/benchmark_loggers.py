"""Overhead of loggers per training step: the same run without a logger and with each, alternating.

    python scripts/benchmark_loggers.py [--steps 2000] [--rounds 5] [LOGGER ...]

The default model is trained on the pattern task, with a validation every 500 steps and a gradient norm every 100. The
CPU time of steps after the first validation is measured, without validations; the ratio of each pair is printed with
its median, as the speed of a shared machine drifts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L

import cellstate
from cellstate.training import run as experiment

EVERY = 500  # steps between validations
BUILT_IN = ("wandb", "csv", "tensorboard", "mlflow")


class Stopwatch(L.Callback):
    """Sums up the CPU time of training steps, without validations."""

    def __init__(self) -> None:
        self.seconds, self._began = 0.0, 0.0

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Start the clock after a validation."""
        if trainer.global_step % EVERY == 0:
            self._began = time.process_time()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Stop the clock before the next one."""
        if trainer.global_step % EVERY == 0 and trainer.global_step > EVERY:
            self.seconds += time.process_time() - self._began


def step_seconds(logger: str, steps: int) -> float:
    """Return the CPU time of a step of a complete run."""
    watch, build = Stopwatch(), experiment.build_trainer
    experiment.build_trainer = lambda settings, folder, callbacks, *more: build(
        settings, folder, [*callbacks, watch], *more
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            cellstate.train(
                [f"logger={logger}", f"trainer.max_steps={steps + EVERY}", "trainer.max_epochs=-1", "report=false",
                 f"trainer.val_check_interval={EVERY}", "trainer.check_val_every_n_epoch=null",
                 "callbacks.early_stopping=null", f"hydra.run.dir={Path(folder) / 'run'}",
                 *([f"logger.mlflow.tracking_uri=sqlite:///{folder}/mlflow.db"] if logger == "mlflow" else [])]
            )  # fmt: skip
    finally:
        experiment.build_trainer = build
    return watch.seconds / steps


def main() -> None:
    """Print the ratio of every round, and the median of each logger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loggers", nargs="*", metavar="LOGGER", help=", ".join(BUILT_IN))
    parser.add_argument("--steps", type=int, default=2000, help=f"a multiple of {EVERY}")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ratios: dict[str, list[float]] = {logger: [] for logger in options.loggers or BUILT_IN}
    for number in range(options.rounds):
        plain = step_seconds("none", options.steps)
        for logger, found in ratios.items():
            found.append(step_seconds(logger, options.steps) / plain)
        told = ", ".join(f"{logger} {found[-1]:.3f}" for logger, found in ratios.items())
        print(f"round {number + 1}: none {plain * 1e3:.3f} ms, ratios {told}", flush=True)
    for logger, found in ratios.items():
        print(f"{logger}: median ratio {statistics.median(found):.3f}")


if __name__ == "__main__":
    main()
