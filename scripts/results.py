"""Run experiments over several seeds and print the rows of docs/results.md.

    python scripts/results.py pattern pattern_stacked pattern_bilstm [--seeds 5] [--metric accuracy] [-- KEY=VALUE ...]

Every row is a mean over seeds with the worst of them, beside the optimum and the best trivial reference; the seconds
are of training alone. What stands behind ``--`` is added to each command, such as data.path=FILE.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import cellstate

HIGHER_IS_BETTER = {"accuracy", "f1", "auroc", "closing_accuracy"}


def row(experiment: str, metric: str, seeds: int, overrides: list[str]) -> str:
    """Return one row of the table."""
    values, seconds, reference = [], [], {}
    for seed in range(seeds):
        run = cellstate.train([f"experiment={experiment}", f"seed={seed}", "report=false", *overrides])
        values.append(run.metrics[run.data.reported_split][metric])
        seconds.append(run.metrics["seconds"]["fit"])
        reference = run.metrics["reference"].get(metric, {})
        print(f"{experiment} seed {seed}: {metric} {values[-1]:.4f} in {seconds[-1]:.1f} s", file=sys.stderr)
    better = max if metric in HIGHER_IS_BETTER else min
    worse = min if metric in HIGHER_IS_BETTER else max
    trivial = {name: value for name, value in reference.items() if not name.startswith("optimum")}
    best = better(trivial, key=trivial.__getitem__) if trivial else None
    shown = f"{trivial[best]:.4f} ({best.replace('_', ' ')})" if best else ""
    optimum = f"{reference['optimum']:.4f}" if "optimum" in reference else ""
    command = " ".join(["cellstate train", f"experiment={experiment}", *overrides])
    return (
        f"| `{command}` | {metric} | {statistics.mean(values):.4f} | {worse(values):.4f} | {optimum} | {shown} "
        f"| {statistics.mean(seconds):.0f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--metric", default="accuracy")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:cut])
    rows = [row(name, options.metric, options.seeds, words[cut + 1 :]) for name in options.experiments]
    print(f"| command, seeds 0 to {options.seeds - 1} | metric | mean | worst | optimum | best trivial | seconds |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
