"""Kill runs again and again, resume them, and compare them with the run that was never stopped.

    python scripts/kill_and_resume.py [--kills 20] [--strikes N] [--seed 0] [EXPERIMENT ...]

Every kill is a SIGKILL that the process sends itself at a random moment: within a step of training, validation or test,
as soon as a row is in metrics.csv, with half a checkpoint written, right after one was written, between two epochs, or
with the training over. The run is resumed with ``cellstate train run=FOLDER`` and killed again, two to four times.

Compared are the rows of metrics.csv and the scores of metrics.json, and entry by entry ``best.ckpt`` and every
``last.ckpt`` that was ever written: weights, optimiser, schedules, loops, callbacks, loader, random states, record.
Only seconds and times may differ. Exits with 1 if anything else does.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from killed_runs import LATE, MOMENTS, SMALL, Strike, contents, differences, entries, kill_and_resume, train


def drawn(chance: random.Random, strikes: int) -> list[Strike]:
    """Return random strikes in an order in which a run can meet all of them: those that come at its end are last."""
    often = {"training step": 12, "validation step": 3, "half a checkpoint": 3, "last.ckpt": 3}
    names = [chance.choice(MOMENTS) for _ in range(strikes)]
    names.sort(key=lambda name: LATE.index(name) if name in LATE else -1)
    return [Strike(name, chance.randint(1, often.get(name, 1 if name in LATE else 2))) for name in names]


def main() -> None:
    """Print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=", ".join(SMALL))
    parser.add_argument("--kills", type=int, default=20, help="at least so many, evenly over the experiments")
    parser.add_argument(
        "--strikes", type=int, help="kills a run, as long as it lasts; by default two to four, at random"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    names = options.experiments or list(SMALL)
    chance, failures, kills = random.Random(options.seed), 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            case, own, trial = SMALL[name], 0, 0
            folder = Path(temporary) / f"{name.replace(' ', '_')}-whole"
            train(case, folder)
            whole = contents(folder)
            print(f"{name}: never stopped: {len(whole['metrics.csv'])} rows, {len(list(entries(whole))):,} entries")
            while own < options.kills / len(names):
                trial += 1
                folder = Path(temporary) / f"{name.replace(' ', '_')}-{trial}"
                struck = kill_and_resume(case, folder, drawn(chance, options.strikes or chance.randint(2, 4)))
                if not struck:
                    continue  # the moment drawn lay beyond the end of the run
                own += len(struck)
                found = differences(whole, folder)
                failures += bool(found)
                said = f"{len(found)} entries differ: {', '.join(found[:3])}" if found else "the same"
                print(f"  killed at {', then '.join(map(str, struck))}: {said}", flush=True)
            kills += own
    print(f"{kills} kills, {failures} runs that ended otherwise")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
