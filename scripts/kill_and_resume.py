"""Kill runs repeatedly, resume them, and compare them with an uninterrupted run.

    python scripts/kill_and_resume.py [--kills 20] [--strikes N] [--seed 0] [EXPERIMENT ...]

Every kill is a SIGKILL that the process sends itself at a random moment: within a step of training, validation or test,
after a row of metrics.csv, with a partially written checkpoint, right after writing one, between two epochs, or after
the training. The run is resumed with ``cellstate train run=FOLDER`` and killed again, two to four times.

It compares the rows of metrics.csv, the scores of metrics.json, and all entries of ``best.ckpt`` and of every
``last.ckpt`` written: weights, optimiser, schedules, loops, callbacks, loader, random states, record. Only times may
differ; the exit status is 1 if anything else does.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from killed_runs import LATE, MOMENTS, SMALL, Strike, contents, differences, entries, kill_and_resume, train


def drawn(chance: random.Random, strikes: int) -> list[Strike]:
    """Return random strikes in a possible order: those at the end of a run come last."""
    often = {"training step": 12, "validation step": 3, "half a checkpoint": 3, "last.ckpt": 3}
    names = [chance.choice(MOMENTS) for _ in range(strikes)]
    names.sort(key=lambda name: LATE.index(name) if name in LATE else -1)
    return [Strike(name, chance.randint(1, often.get(name, 1 if name in LATE else 2))) for name in names]


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=", ".join(SMALL))
    parser.add_argument("--kills", type=int, default=20, help="minimum number, distributed evenly over the experiments")
    parser.add_argument("--strikes", type=int, help="kills per run; default: two to four, at random")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    options = parser.parse_args()
    names = options.experiments or list(SMALL)
    chance, failures, kills = random.Random(options.seed), 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            case, own, trial = SMALL[name], 0, 0
            folder = Path(temporary) / f"{name.replace(' ', '_')}-whole"
            train(case, folder)
            whole = contents(folder)
            print(f"{name}: uninterrupted: {len(whole['metrics.csv'])} rows, {len(list(entries(whole))):,} entries")
            while own < options.kills / len(names):
                trial += 1
                folder = Path(temporary) / f"{name.replace(' ', '_')}-{trial}"
                struck = kill_and_resume(case, folder, drawn(chance, options.strikes or chance.randint(2, 4)))
                if not struck:
                    continue  # the moment was after the end of the run
                own += len(struck)
                found = differences(whole, folder)
                failures += bool(found)
                said = f"{len(found)} entries differ: {', '.join(found[:3])}" if found else "the same"
                print(f"  killed at {', then '.join(map(str, struck))}: {said}", flush=True)
            kills += own
    print(f"{kills} kills, {failures} runs with differences")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
