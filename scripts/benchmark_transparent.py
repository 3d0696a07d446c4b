"""What it costs to compute a network from its equations: its time against torch's own kernel, in one run.

    python scripts/benchmark_transparent.py [--rounds 15] [--threads 1] [--kind lstm]

Both have the same weights and read the same float32 batch; rounds alternate, and the median of the ratios of each pair
is printed, because the speed of a shared machine drifts. A step is a forward and a backward pass; without gradients,
a forward pass alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from cellstate.backbone.transparent import transparent

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
SHAPES = [(64, 32, 64), (64, 64, 128), (512, 32, 64), (512, 64, 128)]  # units (and features), batch, steps


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def compare(slow: Callable[[], object], quick: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Return the medians of the seconds of both, and of the ratios of the rounds; two rounds come before the clock."""
    pairs = [(seconds(slow), seconds(quick)) for _ in range(rounds + 2)][2:]
    ours, theirs = zip(*pairs, strict=True)
    ratios = [one / other for one, other in pairs]
    return statistics.median(ours), statistics.median(theirs), statistics.median(ratios)


def step(network: nn.Module, inputs: torch.Tensor) -> None:
    network.zero_grad()
    network(inputs)[0].sum().backward()


def forward(network: nn.Module, inputs: torch.Tensor) -> None:
    with torch.no_grad():
        network(inputs)


def main() -> None:
    """Print a line for each shape and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS, default="lstm")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(
        f"{options.kind}, torch {torch.__version__}, {options.threads} threads, {options.rounds} rounds, float32, CPU"
    )
    print(f"{'units':>5} {'batch':>5} {'steps':>5}  {'pass':<22} {'torch ms':>9} {'ours ms':>9} {'ratio':>6}")
    for units, batch, steps in SHAPES:
        plain = KINDS[options.kind](units, units, batch_first=True)
        ours, inputs = transparent(plain), torch.randn(batch, steps, units)
        for name, work in (("forward and backward", step), ("without gradients", forward)):
            own, other, ratio = compare(lambda: work(ours, inputs), lambda: work(plain, inputs), options.rounds)  # noqa: B023
            print(f"{units:>5} {batch:>5} {steps:>5}  {name:<22} {other * 1e3:>9.2f} {own * 1e3:>9.2f} {ratio:>6.2f}")


if __name__ == "__main__":
    main()
