"""Verify a new run by evaluating its checkpoint, as ``cellstate evaluate`` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellstate.errors import RunError
from cellstate.scoring.evaluate import Evaluation, evaluate
from cellstate.training.run import Run


def evaluate_again(run: Run) -> Evaluation:
    """Score the validation split again from the best checkpoint of a new run.

    Raises:
        RunError: a score differs.
    """
    again = evaluate(run.checkpoint, test=False, trust=own_packages(run.config))
    if again.differing:
        name, recorded, now = again.differing[0]
        raise RunError(
            f"{run.checkpoint}: evaluated from the checkpoint, {name} is {now!r} instead of {recorded!r}; most "
            "likely a part of the model is missing from its state_dict"
        )
    return again


def own_packages(config: Mapping[str, Any]) -> list[str]:
    """Return the packages of user-defined classes in this command's own config, which it has already run."""
    targets = [str(config[part].get("_target_")) for part in ("data", "model", "backbone")]
    return sorted({target.partition(".")[0] for target in targets} - {"cellstate"})
