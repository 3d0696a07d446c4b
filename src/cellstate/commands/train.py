"""``cellstate train``: train a model, test it, and leave a run folder."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cellstate.commands.application import run_application
from cellstate.composition import name_experiment
from cellstate.runs.discard import discard_unclaimed


def run(words: list[str]) -> int:
    """Run the command."""
    return run_application("train", task, words)


def task(config: DictConfig) -> None:
    """Train one run in the folder that Hydra made for it."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    try:
        name_experiment(config, hydra.runtime.choices.get("experiment"))
        from cellstate import experiment  # torch is loaded here, after the config is known to be well-formed

        experiment.run(config, shortest(folder))
    except BaseException:
        discard_unclaimed(folder)  # only if the run never began: a run that failed says so in its folder
        raise


def shortest(folder: Path) -> Path:
    """Return the folder relative to the working folder where it lies in it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
