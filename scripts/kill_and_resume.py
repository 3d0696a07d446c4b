"""Kill runs at random moments, have them go on, and hold them against the run that was never stopped.

    python scripts/kill_and_resume.py [--kills 20] [--seed 0] [EXPERIMENT ...]

Every kill is a SIGKILL that the process sends itself within a training step, within a validation step, or with half a
checkpoint written. The run then goes on with ``cellstate train run=FOLDER``. Compared are the SHA-256 of the final
weights, of the best ones, and every row of metrics.csv but for its seconds. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cellstate import checkpoint
from cellstate.checkpoint.weights import weights_digest

# Each a few seconds long: dropout, a carried state, schedules by steps and by results, validation within an epoch.
SMALL = {
    "pattern": ["experiment=pattern_stacked", "data.train_size=640", "trainer.max_epochs=4"],
    "plateau": [
        *("experiment=trigger_action", "data.train_size=640", "trainer.max_epochs=6"),
        *("scheduler=plateau", "scheduler.patience=0", "callbacks.early_stopping.patience=2"),
    ],
    "lengths": [
        *("experiment=temporal_order", "data.train_size=320", "data.fresh=true", "data.length=20"),
        *("trainer.max_epochs=4", "trainer.accumulate_grad_batches=2", "model.dropout=0.2"),
    ],
    "series": ["experiment=series", "trainer.max_steps=50", "trainer.val_check_interval=12", "backbone.hidden_size=16"],
    "char_lm": [
        *("experiment=char_lm", "trainer.max_epochs=2", "trainer.limit_train_batches=20", "data.steps=16"),
        *("trainer.limit_val_batches=3", "backbone.hidden_size=16", "model.dropout=0.3"),
    ],
    "processes": [  # two of them, each with its own dropout and the state of its own streams
        *("experiment=char_lm", "trainer=ddp_cpu", "trainer.max_epochs=2", "trainer.limit_train_batches=20"),
        *("data.steps=16", "trainer.limit_val_batches=3", "backbone.hidden_size=16", "model.dropout=0.3"),
    ],
}
COMMON = ["report=false", "quiet=true", "trainer.accelerator=cpu", "checkpoint.every_n_steps=3"]
KINDS = ("training step", "validation step", "checkpoint")

# What the killed process runs: the command line, with one function that ends it in the middle of its n-th call.
CHILD = """
import os, signal, sys
kind, count, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
from cellstate import cli
from cellstate.checkpoint import file
from cellstate.model import SequenceModel
calls = 0
def dying(original, halfway):
    def run(*arguments):
        global calls
        calls += 1
        if calls == count:
            halfway(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)
    return run
def half_a_file(content, path):
    whole = file.packed(content)
    path.with_suffix(".tmp").write_bytes(whole[: len(whole) // 2])
if kind == "checkpoint":
    file.write = dying(file.write, half_a_file)
elif kind != "none":
    name = kind.replace(" ", "_")
    inner = getattr(SequenceModel, name)
    setattr(SequenceModel, name, dying(inner, inner))
if kind == "validation step":
    SequenceModel.test_step = SequenceModel.validation_step
cli.main(words)
"""


def train(words: Sequence[str], folder: Path, kind: str = "none", count: int = 0) -> int:
    """Run ``cellstate train`` in a process of its own; return its exit status, negative where a signal ended it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, kind, str(count), "train", *words]
    ended = subprocess.run(command, cwd=folder.parent, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"{' '.join(words)}: {ended.stderr}")
    return ended.returncode


def digests(folder: Path) -> dict[str, str]:
    """Return a SHA-256 for the final weights, the best ones, and the rows of metrics.csv without their seconds."""
    found = {}
    for name in ("last", "best"):
        weights = checkpoint.read(folder / "checkpoints" / f"{name}.ckpt")["state_dict"]
        found[f"{name} weights"] = weights_digest(weights)
    with (folder / "metrics.csv").open() as file:
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    found[f"{len(rows)} rows"] = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics.pop("seconds")
    found["metrics.json"] = hashlib.sha256(json.dumps(metrics).encode()).hexdigest()
    return found


def interrupted(words: Sequence[str], folder: Path, chance: random.Random) -> list[str]:
    """Train, killed once to three times at random moments, and go on until the run is complete; return where."""
    moments = []
    command = [*words, f"hydra.run.dir={folder.name}"]
    for _ in range(chance.randint(1, 3)):
        kind = chance.choice(KINDS)
        count = chance.randint(1, {"training step": 30, "validation step": 12, "checkpoint": 12}[kind])
        if train(command, folder, kind, count) == 0:
            break
        moments.append(f"{kind} {count}")
        if (folder / "manifest.json").exists():
            command = [f"run={folder.name}", "quiet=true"]
    else:
        train(command, folder)
    return moments


def main() -> None:
    """Print a line a kill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=", ".join(SMALL))
    parser.add_argument("--kills", type=int, default=20, help="at least so many, evenly over the experiments")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = options.experiments or list(SMALL)
    chance, failures, kills = random.Random(options.seed), 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            words, own, trial = [*SMALL[name], *COMMON], 0, 0
            whole = Path(temporary) / f"{name}-whole"
            train([*words, f"hydra.run.dir={whole.name}"], whole)
            expected = digests(whole)
            print(f"{name}: never stopped: " + ", ".join(f"{key} {value[:12]}" for key, value in expected.items()))
            while own < options.kills / len(names):
                trial += 1
                folder = Path(temporary) / f"{name}-{trial}"
                moments = interrupted(words, folder, chance)
                if not moments:
                    continue  # the moment drawn lay beyond the end of the run
                own += len(moments)
                found = digests(folder)
                differing = [key for key in expected if found.get(key) != expected[key]]
                failures += bool(differing)
                print(f"  killed in {', then '.join(moments)}: {', '.join(differing) or 'the same'}", flush=True)
            kills += own
    print(f"{kills} kills, {failures} runs that ended otherwise")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
