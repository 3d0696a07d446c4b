"""Run the experiments over several seeds and print the table of docs/results.md.

    python scripts/results.py [EXPERIMENT ...] [--seeds 5] [-- KEY=VALUE ...]

Without a name it runs all of CATALOGUE, about an hour on two cores. Every row has the mean over the seeds, the worst
seed, the optimum and the best baseline (means over the seeds, as each seed generates its own data), and the number of
seeds that reach the goal; the seconds are of training only. Arguments after ``--`` are added to each command.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cellstate
from cellstate.metrics.table import metric_of, rank


@dataclass(frozen=True)
class Goal:
    """The goal of an experiment: a metric, its limit (possibly a function of the references), and a description."""

    metric: str
    words: str
    limit: Callable[[Mapping[str, float]], float]

    def reached(self, value: float, reference: Mapping[str, float]) -> bool:
        """Return whether a result reaches the goal."""
        limit = self.limit(reference)
        return rank(self.metric, value) <= rank(self.metric, limit)


def at(metric: str, limit: float) -> Goal:
    """Return a goal with a fixed limit."""
    return Goal(metric, f"{limit:g}", lambda _: limit)


def above_floor(share: float) -> Goal:
    """Return a mean absolute error relative to that of the noise in the test windows."""
    return Goal("mae", f"floor + {share:.0%}", lambda reference: (1 + share) * reference["optimum_realised"])


CATALOGUE = {
    "pattern": at("accuracy", 0.995),
    "pattern_stacked": at("accuracy", 0.995),
    "pattern_bilstm": at("accuracy", 0.995),
    "trigger_action": at("accuracy", 0.99),
    "first_parity": at("accuracy", 0.99),
    "temporal_order": at("accuracy", 0.99),
    "seasonal": above_floor(0.05),
    "sine": above_floor(0.10),
    "adding": at("mse", 0.005),
    "embedded_reber": at("closing_accuracy", 0.99),
    "markov": Goal("loss", "optimum + 0.01", lambda reference: reference["optimum"] + 0.01),
    "copy_memory": Goal("loss", "memoryless / 2", lambda reference: reference["memoryless"] / 2),
    "next_state": Goal("loss", "realised + 0.01", lambda reference: reference["optimum_realised"] + 0.01),
}
HEADER = "| command | metric | mean | worst | goal | reached | optimum | best trivial | seconds |"


def trivial_of(reference: Mapping[str, float]) -> dict[str, float]:
    """Return the references other than optima."""
    return {name: value for name, value in reference.items() if not name.startswith("optimum")}


def row(experiment: str, goal: Goal, seeds: int, overrides: list[str]) -> str:
    """Return one row of the table."""
    values, seconds, references, reached = [], [], [], 0
    for seed in range(seeds):
        run = cellstate.train([f"experiment={experiment}", f"seed={seed}", "report=false", *overrides])
        reference: dict[str, Any] = run.metrics["reference"][goal.metric]
        values.append(run.metrics[run.data.reported_split][goal.metric])
        seconds.append(run.metrics["seconds"]["fit"])
        references.append(reference)
        reached += goal.reached(values[-1], reference)
        print(f"{experiment} seed {seed}: {goal.metric} {values[-1]:.4f} in {seconds[-1]:.1f} s", file=sys.stderr)
    higher = metric_of(goal.metric).higher_is_better
    means = {name: statistics.mean(each[name] for each in references if name in each) for name in references[0]}
    trivial = trivial_of(means)
    best = (max if higher else min)(trivial, key=trivial.__getitem__)
    optimum = means.get("optimum_realised", means.get("optimum"))
    command = " ".join(["cellstate train", f"experiment={experiment}", *overrides])
    return (
        f"| `{command}` | {goal.metric} | {statistics.mean(values):.4f} | {(min if higher else max)(values):.4f} "
        f"| {goal.words} | {reached} of {seeds} | {'' if optimum is None else f'{optimum:.4f}'} "
        f"| {trivial[best]:.4f} ({best.replace('_', ' ')}) | {statistics.mean(seconds):.0f} |"
    )


def main() -> None:
    """Print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=", ".join(CATALOGUE))
    parser.add_argument("--seeds", type=int, default=5)
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:cut])
    unknown = set(options.experiments) - set(CATALOGUE)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: not in the catalogue, which has {', '.join(CATALOGUE)}")
    print(HEADER)
    print("|---" * HEADER.count(" | ") + "|---|")
    for name in options.experiments or CATALOGUE:
        print(row(name, CATALOGUE[name], options.seeds, words[cut + 1 :]), flush=True)


if __name__ == "__main__":
    main()
