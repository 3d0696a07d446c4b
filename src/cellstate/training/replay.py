"""Scoring a run that was just made again from its checkpoint alone, as ``cellstate evaluate`` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellstate.errors import RunError
from cellstate.scoring.evaluate import Evaluation, evaluate
from cellstate.training.run import Run


def evaluate_again(run: Run) -> Evaluation:
    """Score the validation split again from the best checkpoint of a run that was just made, as ``evaluate`` does.

    Raises:
        RunError: a score is another.
    """
    again = evaluate(run.checkpoint, test=False, trust=own_packages(run.config))
    if again.differing:
        name, recorded, now = again.differing[0]
        raise RunError(
            f"{run.checkpoint}: scored again from the checkpoint alone, {name} is {now!r}, and was {recorded!r} in the "
            "run; the likeliest reason is a part of the model that its state_dict does not hold"
        )
    return again


def own_packages(config: Mapping[str, Any]) -> list[str]:
    """Return the packages besides cellstate whose classes a config of this very command names, and so runs anyway."""
    targets = [str(config[part].get("_target_")) for part in ("data", "model", "backbone")]
    return sorted({target.partition(".")[0] for target in targets} - {"cellstate"})
