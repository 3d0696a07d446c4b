"""What the process of a rank above 0 runs: ``python -m cellstate.distributed.worker``, its job on standard input."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from cellstate.errors import CellstateError


def train(config: dict[str, Any], folder: str, again: bool) -> None:
    """Take part in a run."""
    from pathlib import Path

    from omegaconf import OmegaConf

    from cellstate.training.run import run

    run(OmegaConf.create({**config, "quiet": True, "logger": {}}), Path(folder), again=again)


def evaluate(**job: Any) -> None:
    """Take part in scoring a checkpoint."""
    from cellstate.scoring.evaluate import evaluate as score

    score(**job)


WORK = {"train": train, "evaluate": evaluate}


def main() -> int:
    """Do the work that the first process asks for, and end when it does."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_the_first, daemon=True).start()
    import torch

    from cellstate.distributed.siblings import begin_as

    torch.set_num_threads(job["threads"])
    begin_as(job["rank"], job["port"])
    try:
        WORK[job["work"]](**job["job"])
    except CellstateError as error:
        print(f"cellstate: error: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 0  # all stop together, and the first one says so
    return 0


def end_with_the_first() -> None:
    """Wait for the pipe to close, which it does when the first process is gone, however it ended; then end at once."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
