"""What the framework costs: the time of a training step under cellstate against a hand-written loop, in one run.

    python scripts/benchmark.py [--steps 2000] [--rounds 5] [--hidden-size 64]

The bare loop is what a careful person writes for this task alone: whole-batch indexing, the same network, fused
Adam, gradient clipping, nothing else. Both train the pattern task's network on the same data; rounds alternate, and
the ratio of each pair is printed with its median, because the speed of a shared machine drifts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from torch import nn

from cellstate.backbone import LSTM
from cellstate.callbacks import FiniteLoss
from cellstate.config.compose import compose
from cellstate.runs.quiet import quiet_libraries
from cellstate.training.build import build_model, build_trainer
from cellstate.training.settings import Settings

WARM_UP = 100  # steps before the clock starts, in both


class Stopwatch(L.Callback):
    """Times the steps of a fit after the warm-up."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Read the clock twice in a run."""
        if trainer.global_step == WARM_UP:
            self.began = time.perf_counter()
        self.ended = time.perf_counter()


def under_cellstate(steps: int, hidden_size: int) -> float:
    """Return the seconds of ``steps`` steps with every callback that a run has, validation left out."""
    overrides = [f"backbone.hidden_size={hidden_size}", f"trainer.max_steps={steps + WARM_UP}"]
    overrides += ["trainer.max_epochs=-1", "trainer.limit_val_batches=0", "+trainer.enable_checkpointing=false"]
    config, _ = compose("train", [*overrides, "callbacks.early_stopping=null"])
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, quiet_libraries():
        data = instantiate(config.data)
        trainer = build_trainer(Settings.of(config), Path(folder), [FiniteLoss(), watch])
        trainer.fit(build_model(Settings.of(config), data), datamodule=data)
    return watch.ended - watch.began


def bare_loop(steps: int, hidden_size: int) -> float:
    """Return the seconds of ``steps`` steps of a hand-written loop."""
    config, _ = compose("train", [])
    data = instantiate(config.data)
    samples = data.prepared.splits["train"]
    network, head = LSTM(input_size=1, hidden_size=hidden_size), nn.Linear(hidden_size, 2)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.003, fused=True)
    done, began = 0, 0.0
    while True:
        order = torch.randperm(len(samples))
        for start in range(0, len(samples), data.batch_size):
            if done == WARM_UP:
                began = time.perf_counter()
            if done == steps + WARM_UP:
                return time.perf_counter() - began
            batch = samples.batch(order[start : start + data.batch_size])
            outputs, _ = network(batch.inputs)
            loss = nn.functional.cross_entropy(head(outputs[:, -1]), batch.targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            done += 1


def main() -> None:
    """Print the ratio of every round, and its median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden-size", type=int, default=64)
    options = parser.parse_args()
    ratios = []
    for number in range(options.rounds):
        bare = bare_loop(options.steps, options.hidden_size) / options.steps
        ours = under_cellstate(options.steps, options.hidden_size) / options.steps
        ratios.append(ours / bare)
        print(f"round {number + 1}: bare {bare * 1e3:.3f} ms, cellstate {ours * 1e3:.3f} ms, ratio {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f} ({options.rounds} rounds of {options.steps} steps)")


if __name__ == "__main__":
    main()
