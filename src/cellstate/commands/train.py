"""``cellstate train``: train a model, test it, and write a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cellstate.config.application import parse, run_application
from cellstate.config.compose import in_sweep, lock_in_sweep, of_one_run, reject_search
from cellstate.errors import RequestError
from cellstate.runs.discard import discard_unclaimed
from cellstate.runs.folder import shortest

if TYPE_CHECKING:
    from cellstate.training.run import Run


def run(words: list[str]) -> int:
    """Run the command."""
    options = parse(words)
    if options.multirun:
        reject_test(options.overrides)
    return run_application("train", task, words)


def task(config: DictConfig) -> None:
    """Train one run in Hydra's output folder."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    try:
        of_one_run(config, hydra.runtime.choices.get("experiment"))
        if in_sweep():
            reject_test(hydra.overrides.task)
            lock_in_sweep(config)
        elif config.run is None:
            reject_search(config)
        if config.run is not None:
            reject_changes(hydra.overrides.task)
        # torch is loaded here, after the config is known to be well-formed
        from cellstate.training.run import run as train

        if not resume_requested(config, folder):
            score_again(train(config, shortest(folder)), quiet=config.quiet)
    except BaseException:
        discard_unclaimed(folder)  # only if the run was never started: a failed run keeps its folder
        raise


def score_again(run: Run, *, quiet: bool) -> None:
    """Evaluate the checkpoint of a run with debug=fast, as ``cellstate evaluate`` would."""
    if run.metrics.get("debug", {}).get("preset") != "fast":
        return
    from cellstate.training.replay import evaluate_again

    compared = evaluate_again(run).compared
    if not quiet:
        print(f"Evaluated from its checkpoint alone: {len(compared)} of {len(compared)} validation metrics identical.")


def resume_requested(config: DictConfig, folder: Path) -> bool:
    """Resume the run requested by the config; return False if there is none."""
    from cellstate.scoring.permitted import LEDGER
    from cellstate.training.resume import find_unfinished, resume

    if config.run is not None:
        place: Path | None = Path(str(config.run)).expanduser()
    else:
        place = find_unfinished(config, folder) if config.resume == "auto" else None
    if place is None:
        return False
    discard_unclaimed(folder)
    found = None if config.run is not None else config  # a run found by auto has the config of this command
    ledger = config.ledger if config.ledger != LEDGER else None
    done = resume(shortest(place), quiet=config.quiet, trust=config.trust, ledger=ledger, config=found)
    if done is None:
        print(f"{shortest(place)}: this run is complete; its results are in metrics.json")
    else:
        score_again(done, quiet=config.quiet)
    return True


def reject_changes(overrides: Sequence[str]) -> None:
    """Raise RequestError for overrides with ``run=FOLDER``, as a run is resumed with its original config."""
    others = [word for word in overrides if word.partition("=")[0] not in ("run", "trust", "ledger", "quiet")]
    if others:
        raise RequestError(f"{' '.join(others)}: a run is resumed with its original config; give only run=FOLDER")


def reject_test(overrides: Sequence[str]) -> None:
    """Raise RequestError if an override requests the test split in a multirun."""
    for word in overrides:
        key, _, value = word.lstrip("+").partition("=")
        if key == "test" and value.strip().lower() != "false":
            raise RequestError(
                f"{word}: the test split is locked in a multirun, as runs must not be selected by test scores; remove "
                "it, and score the selected run with cellstate evaluate checkpoint=FOLDER"
            )
