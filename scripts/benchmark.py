"""Framework overhead: the time of a training step compared with a hand-written loop, in one process.

    python scripts/benchmark.py [--steps 1500] [--rounds 5] [--hidden-size 64]

One side is a complete run of ``cellstate train`` with all callbacks, validations, checkpoints and progress; a stopwatch
callback times each epoch from the first to the last step, and the interval between epochs: validation, checkpoints, a
row of metrics. The bare loop is an optimised implementation for this task only: the same network, whole-batch indexing,
fused Adam, gradient clipping, nothing else; so only steps are compared.

Both train on the same data. As the speed of a shared machine drifts, rounds alternate, each side of a round is its
fastest epoch (disturbances only add time), and the ratios of the rounds are printed with their median, for wall-clock
time and for CPU time.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from torch import nn

import cellstate
from cellstate.backbone import LSTM
from cellstate.config.compose import compose
from cellstate.data import SequenceData

WARM_UP = 2  # epochs that are not timed, on both sides


Seconds = NDArray[np.float64]  # wall-clock and CPU time


def now() -> Seconds:
    """Read both clocks."""
    return np.array([time.perf_counter(), time.process_time()])


class Stopwatch(L.Callback):
    """Times the steps of each epoch, and the intervals between epochs."""

    last: ClassVar[Stopwatch]

    def __init__(self) -> None:
        Stopwatch.last = self  # created by the config, read by the benchmark
        self.epochs: list[Seconds] = []
        self.between: list[Seconds] = []
        self.others: list[L.Callback] = []  # the other callbacks of the run
        self._began = self._ended = now()

    def on_train_batch_start(self, trainer: L.Trainer, *step: Any) -> None:
        """Start the clock at the first step."""
        if step[-1] == 0:
            self.others = [callback for callback in trainer.callbacks if callback is not self]  # type: ignore[attr-defined]
            self._began = now()
            self.between.append(self._began - self._ended)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Stop the clock after the last step."""
        if trainer.is_last_batch:
            self._ended = now()
            self.epochs.append(self._ended - self._began)


def under_cellstate(epochs: int, hidden_size: int) -> Stopwatch:
    """Time a complete run, without early stopping."""
    words = [
        f"backbone.hidden_size={hidden_size}",
        f"trainer.max_epochs={epochs}",
        "callbacks.early_stopping.patience=1000000",
    ]
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        words += [f"hydra.run.dir={folder}/run", f"ledger={folder}/ledger.csv", "report=false"]
        with redirect_stdout(nowhere), redirect_stderr(nowhere):
            cellstate.train([*words, f"+callbacks.stopwatch._target_={__name__}.Stopwatch"], quiet=False)
    return Stopwatch.last


def bare_loop(data: SequenceData, epochs: int, hidden_size: int) -> list[Seconds]:
    """Time the epochs of a hand-written loop."""
    samples, seconds = data.prepared.splits["train"], []
    network, head = LSTM(input_size=1, hidden_size=hidden_size), nn.Linear(hidden_size, 2)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.003, fused=True)
    for _ in range(epochs):
        began = now()
        order = torch.randperm(len(samples))
        for start in range(0, len(samples), data.batch_size):
            batch = samples.batch(order[start : start + data.batch_size])
            outputs, _ = network(batch.inputs)
            loss = nn.functional.cross_entropy(head(outputs[:, -1]), batch.targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        seconds.append(now() - began)
    return seconds


def main() -> None:
    """Print the ratio of every round, and its median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500, help="steps per side and round, rounded up to epochs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden-size", type=int, default=64)
    options = parser.parse_args()
    config, _ = compose("train", [])
    data: SequenceData = instantiate(config.data)
    batches = math.ceil(len(data.prepared.splits["train"]) / data.batch_size)
    epochs = math.ceil(options.steps / batches)
    ratios, between = [], []
    for number in range(1, options.rounds + 1):
        bare = a_step(bare_loop(data, WARM_UP + epochs, options.hidden_size), batches)
        watch = under_cellstate(WARM_UP + epochs, options.hidden_size)
        ours = a_step(watch.epochs, batches)
        if number == 1:
            print("callbacks:", ", ".join(type(callback).__name__ for callback in watch.others))
        ratios.append(ours / bare)
        between += watch.between[WARM_UP:]
        print(
            f"round {number}: bare {bare[0]:.3f} ms, cellstate {ours[0]:.3f} ms, ratio {ratios[-1][0]:.3f}; on the "
            f"processor {bare[1]:.3f} and {ours[1]:.3f} ms, ratio {ratios[-1][1]:.3f}",
            flush=True,
        )
    passed, worked = np.median(ratios, axis=0)
    rounds = f"{options.rounds} rounds of {epochs * batches} steps"
    print(f"between two epochs {1e3 * np.median(between, axis=0)[0]:.0f} ms: validation, checkpoints, a row of metrics")
    print(f"median ratio {passed:.3f}, CPU time {worked:.3f} ({rounds})")


def a_step(epochs: list[Seconds], batches: int) -> Seconds:
    """Return the milliseconds of a step, that of the fastest epoch after the warm-up."""
    return 1e3 * np.min(epochs[WARM_UP:], axis=0) / batches


if __name__ == "__main__":
    main()
