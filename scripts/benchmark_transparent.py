"""Overhead of transparent layers: their time compared with torch's kernels, in one run.

    python scripts/benchmark_transparent.py [--rounds 15] [--threads 1] [--kind lstm] [--opening]

Both have the same weights and read the same float32 batch; rounds alternate, and the median of the ratios of each pair
is printed, as the speed of a shared machine drifts. A step is a forward and a backward pass; without gradients,
a forward pass alone.

With ``--opening`` it measures the time to get all gates and states of an LSTM over 512 steps: from the fast layer
(``open_states``, with given outputs, and including the forward pass), by a forward pass of the equations, and step by
step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from cellstate.backbone.transparent import Transparent, fast, lstm, to_torch, transparent
from cellstate.inspection.analysis import open_states

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
SHAPES = [(64, 32, 64), (64, 64, 128), (512, 32, 64), (512, 64, 128)]  # units (and features), batch, steps
OPENED = [(64, 1), (64, 8), (256, 1), (256, 8)]  # units (and features), batch


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def compare(slow: Callable[[], object], quick: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Return the median seconds of both, and the median ratio of the rounds, after two warm-up rounds."""
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


def opening(rounds: int) -> None:
    """Print the time to get all states of an LSTM in each way, and the ratios to the fast one."""
    print("all gates and states of an LSTM over 512 steps, ms; ratio to 'outputs at hand' and to 'with the pass'")
    print(f"{'units':>5} {'batch':>5}  {'at hand':>8} {'with pass':>9}  {'equations':>22}  {'step by step':>22}")
    for units, batch in OPENED:
        ours = transparent(nn.LSTM(units, units))
        quick, inputs, weights = fast(ours), torch.randn(batch, 512, units), to_torch(ours).all_weights[0]
        stacked, start = lstm.Stacked.of_torch(*(weight.detach() for weight in weights)), ours.initial_state(batch)
        with torch.no_grad():
            outputs, _ = quick(inputs)
        first = start[0][0], start[1][0]
        ways: list[Callable[[], object]] = [
            lambda: open_states(quick, inputs, outputs=outputs),  # noqa: B023
            lambda: open_states(quick, inputs),  # noqa: B023
            lambda: lstm.forward_pass(inputs.transpose(0, 1), first, stacked),  # noqa: B023
            lambda: step_by_step(ours, inputs),  # noqa: B023
        ]
        with torch.no_grad():
            times = [[seconds(way) for way in ways] for _ in range(rounds + 2)][2:]
        at_hand, with_pass, equations, steps = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
        ratios = [statistics.median(row[other] / row[own] for row in times) for other in (2, 3) for own in (0, 1)]
        slow = f"{equations:>8.1f} ({ratios[0]:.1f}x, {ratios[1]:.1f}x)"
        slower = f"{steps:>8.1f} ({ratios[2]:.1f}x, {ratios[3]:.1f}x)"
        print(f"{units:>5} {batch:>5}  {at_hand:>8.2f} {with_pass:>9.2f}  {slow:>22}  {slower:>22}")


def step_by_step(network: Transparent, inputs: torch.Tensor) -> None:
    state = network.initial_state(len(inputs))
    for step in range(inputs.shape[1]):
        _, state = network.step(inputs[:, step], state)


def main() -> None:
    """Print a line for each shape and kind of pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS, default="lstm")
    parser.add_argument("--opening", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.opening:
        opening(options.rounds)
        return
    print(
        f"{options.kind}, torch {torch.__version__}, {options.threads} threads, {options.rounds} rounds, float32, CPU; "
        "ratio: the median over the rounds"
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
