"""``cellstate train``: train a model, test it, and leave a run folder."""

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
        refuse_test(options.overrides)
    return run_application("train", task, words)


def task(config: DictConfig) -> None:
    """Train one run in the folder that Hydra made for it."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    try:
        of_one_run(config, hydra.runtime.choices.get("experiment"))
        if in_sweep():
            refuse_test(hydra.overrides.task)
            lock_in_sweep(config)
        elif config.run is None:
            reject_search(config)
        if config.run is not None:
            refuse_changes(hydra.overrides.task)
        # torch is loaded here, after the config is known to be well-formed
        from cellstate.training.run import run as train

        if not resume_asked(config, folder):
            score_again(train(config, shortest(folder)), quiet=config.quiet)
    except BaseException:
        discard_unclaimed(folder)  # only if the run never began: a run that failed says so in its folder
        raise


def score_again(run: Run, *, quiet: bool) -> None:
    """Evaluate the checkpoint of a run of debug=fast, as it would be used."""
    if run.metrics.get("debug", {}).get("preset") != "fast":
        return
    from cellstate.training.replay import evaluate_again

    compared = evaluate_again(run).compared
    if not quiet:
        print(f"Evaluated from its checkpoint alone: {len(compared)} of {len(compared)} validation metrics identical.")


def resume_asked(config: DictConfig, folder: Path) -> bool:
    """Resume the run that the config asks for; return False where it asks for none, or there is none."""
    from cellstate.scoring.permitted import LEDGER
    from cellstate.training.resume import find_unfinished, resume

    if config.run is not None:
        place: Path | None = Path(str(config.run)).expanduser()
    else:
        place = find_unfinished(config, folder) if config.resume == "auto" else None
    if place is None:
        return False
    discard_unclaimed(folder)
    found = None if config.run is not None else config  # what auto finds has the config of this very command
    ledger = config.ledger if config.ledger != LEDGER else None
    done = resume(shortest(place), quiet=config.quiet, trust=config.trust, ledger=ledger, config=found)
    if done is None:
        print(f"{shortest(place)}: this run is complete; its results are in metrics.json")
    else:
        score_again(done, quiet=config.quiet)
    return True


def refuse_changes(overrides: Sequence[str]) -> None:
    """Refuse ``run=FOLDER`` beside values of the config, which is the one that the run began with.

    Raises:
        RequestError: names them.
    """
    others = [word for word in overrides if word.partition("=")[0] not in ("run", "trust", "ledger", "quiet")]
    if others:
        raise RequestError(
            f"{' '.join(others)}: a run resumes with the config that it began with; give run=FOLDER alone"
        )


def refuse_test(overrides: Sequence[str]) -> None:
    """Refuse to score the test split in a multirun.

    Raises:
        RequestError: a word asks for it.
    """
    for word in overrides:
        key, _, value = word.lstrip("+").partition("=")
        if key == "test" and value.strip().lower() != "false":
            raise RequestError(
                f"{word}: a multirun leaves the test split locked, as whatever is chosen among its runs would be "
                "chosen by it; leave it out, and score the run you choose with cellstate evaluate checkpoint=FOLDER"
            )
