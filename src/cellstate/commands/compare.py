"""``cellstate compare``: train variants with equal seeds and parameters, and test their differences."""

from __future__ import annotations

from omegaconf import DictConfig

from cellstate.commands import train
from cellstate.config.application import parse, run_application
from cellstate.errors import RequestError


def run(words: list[str]) -> int:
    """Run the command: a multirun with the sweeper of comparisons."""
    options = parse(words)
    train.reject_test(options.overrides)
    if any(word.startswith("hydra/sweeper=") for word in options.overrides):
        raise RequestError("hydra/sweeper: is fixed for comparisons; remove it")
    shows = options.cfg or options.info or options.help or options.hydra_help or options.multirun
    return run_application("compare", task, words if shows else ["-m", *words])


def task(config: DictConfig) -> None:
    """Train one of its runs."""
    train.task(config)
