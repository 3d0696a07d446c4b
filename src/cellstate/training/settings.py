"""The settings of one run: typed and resolved once, so that no other code reads the config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig

from cellstate.callbacks.monitors import with_mode
from cellstate.config.check import check, chosen, plain, recorded
from cellstate.config.compose import lock_in_sweep


@dataclass(frozen=True)
class Part:
    """A section of a config: a class and its arguments.

    Attributes:
        values: the section as plain values, including ``_target_``.
    """

    values: Mapping[str, Any]

    @property
    def target(self) -> str:
        """The dotted name of the class."""
        return str(self.values["_target_"])

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys of the section without Hydra's."""
        return {key: value for key, value in self.values.items() if not key.startswith("_")}

    def factory(self) -> Callable[..., Any]:
        """Return the class with its arguments bound, to be called with the remaining ones."""
        return partial(get_object(self.target), **self.arguments)

    def build(self, **more: Any) -> Any:
        """Return an instance, created by Hydra."""
        return instantiate(dict(self.values), **more)


@dataclass(frozen=True)
class Settings:
    """The settings of one run.

    Attributes:
        experiment: its name, the first part of the run folder's path.
        seed: of all random numbers.
        ensemble: number of networks that are trained together and averaged.
        data, model, backbone, optimizer, trainer: the parts to build.
        scheduler: learning rate schedule; None: constant.
        debug: the preset of ``debug=NAME``; None for a regular run.
        checkpoint: arguments of the callback that writes checkpoints.
        callbacks, loggers: by their names in the config.
        test: False leaves the test split locked.
        ledger: file that records each evaluation on a test split.
        report: whether the run writes its page.
        quiet: print neither the summary of the model nor the table of results.
        recorded: the complete config as stored in checkpoints and ``config.yaml``, with absolute paths.
    """

    experiment: str
    seed: int
    ensemble: int
    data: Part
    model: Part
    backbone: Part
    optimizer: Part
    trainer: Part
    scheduler: Part | None
    debug: Part | None
    checkpoint: Mapping[str, Any]
    callbacks: Mapping[str, Part]
    loggers: Mapping[str, Part]
    test: bool
    ledger: str
    report: bool
    quiet: bool
    recorded: Mapping[str, Any]

    @classmethod
    def of(cls, config: DictConfig) -> Settings:
        """Return the settings of a composed config."""
        values = plain(config)
        return cls(
            experiment=values["experiment"],
            seed=values["seed"],
            ensemble=values.get("ensemble", 1),
            data=Part(values["data"]),
            model=Part(values["model"]),
            backbone=Part(values["backbone"]),
            optimizer=Part(values["optimizer"]),
            trainer=Part(values["trainer"]),
            scheduler=_part(values.get("scheduler")),
            debug=_part(values.get("debug")),
            checkpoint=Part(values["checkpoint"]).arguments,
            callbacks={name: Part(with_mode(node)) for name, node in chosen(values.get("callbacks")).items()},
            loggers={name: Part(node) for name, node in chosen(values.get("logger")).items()},
            test=values["test"],
            ledger=values["ledger"],
            report=values["report"],
            quiet=values["quiet"],
            recorded=recorded(config),
        )

    def monitoring(self) -> dict[str, Mapping[str, Any]]:
        """Return the sections that may monitor a metric, by their keys in the config."""
        schedule = {} if self.scheduler is None else {"scheduler": self.scheduler.values}
        callbacks = {f"callbacks.{name}": part.values for name, part in self.callbacks.items()}
        return {"checkpoint": self.checkpoint, **callbacks, **schedule}

    def with_strategy(self, strategy: str) -> Settings:
        """Return the same settings with another strategy and without loggers."""
        return replace(self, trainer=Part({**self.trainer.values, "strategy": strategy}), loggers={})


def _part(section: Mapping[str, Any] | None) -> Part | None:
    return Part(section) if section else None


def resolve(config: DictConfig) -> Settings:
    """Check a composed config, lock the test split within a sweep, and return its settings.

    Raises:
        RequestError: one line for each problem of the config.
    """
    lock_in_sweep(config)
    check(config)
    return Settings.of(config)
