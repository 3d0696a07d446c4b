"""Train with one process and with two, and print the differences between the two runs.

    python scripts/follow_one_process.py [--seeds 3] [--steps 50] [EXPERIMENT ...]

Both use the same batches; dropout and input noise, which differ between processes, are off. Prints the largest
difference of a training loss (a mean over five steps) and of a final weight, in single and in double precision.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cellstate
from cellstate import checkpoint

WITHOUT_NOISE = {"char_lm": ["model.dropout=0"], "seasonal": ["model.input_noise=0"]}
SHORT = ["report=false", "callbacks.early_stopping=null", "trainer.check_val_every_n_epoch=null"]


def train(experiment: str, trainer: str, words: list[str], folder: Path) -> cellstate.Run:
    """Train one run."""
    words = [f"experiment={experiment}", f"trainer={trainer}", *SHORT, *WITHOUT_NOISE.get(experiment, []), *words]
    return cellstate.train([*words, f"hydra.run.dir={folder / trainer}", f"ledger={folder / 'ledger.csv'}"])


def apart(one: cellstate.Run, other: cellstate.Run) -> tuple[float, float]:
    """Return the largest differences of a training loss and of a weight between two runs."""
    losses = [
        abs(before["train/loss"] - after["train/loss"])
        for before, after in zip(one.history, other.history, strict=True)
    ]
    before, after = (checkpoint.read(run.folder / "checkpoints" / "last.ckpt")["state_dict"] for run in (one, other))
    return max(losses), max(float((before[name] - after[name]).abs().max()) for name in before)


def main() -> None:
    """Print a line for each experiment, precision and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", default=["pattern", "adding", "char_lm"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    for experiment in options.experiments:
        for precision in ("32-true", "64-true"):
            for seed in range(options.seeds):
                words = [f"trainer.max_steps={options.steps}", "trainer.val_check_interval=5", f"seed={seed}"]
                words += [
                    "trainer.limit_val_batches=2",
                    "trainer.limit_test_batches=2",
                    f"trainer.precision={precision}",
                ]
                with tempfile.TemporaryDirectory() as folder:
                    one, two = (train(experiment, name, words, Path(folder)) for name in ("cpu", "ddp_cpu"))
                    loss, weight = apart(one, two)
                print(f"{experiment:10} {precision}  seed {seed}  loss {loss:.1e}  weights {weight:.1e}", flush=True)


if __name__ == "__main__":
    main()
