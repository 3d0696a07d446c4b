"""Samplers whose every draw follows from a seed, the trial and the parameter, so that a killed search goes on alike."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from cellstate.sweep.search.settings import PRUNERS, SAMPLERS, Choice

# Draws one sequence for all trials: with another seed for each, its points would not be spread evenly any more.
OF_ONE_SEED = ("qmc",)


class ReseededSampler(BaseSampler):
    """Proposes what one of Optuna's samplers proposes, with a seed of its own for each trial and parameter.

    What it draws depends on the trials that are told and on nothing that a process holds: a trial whose process was
    killed as it was proposed is proposed again the same.

    Args:
        choice: of the sampler.
        seed: of the search.
        label: of the study, where one search has several.
    """

    def __init__(self, choice: Choice, seed: int, label: str = "") -> None:
        self._choice, self._seed, self._label = choice, seed, label

    def _sampler(self, *parts: Any) -> BaseSampler:
        seeding = (self._seed, self._label) if self._choice.name in OF_ONE_SEED else (self._seed, self._label, *parts)
        digest = hashlib.sha256(repr(seeding).encode()).digest()
        arguments = {**self._choice.arguments, "seed": int.from_bytes(digest[:4], "big")}
        return getattr(optuna.samplers, SAMPLERS[self._choice.name])(**arguments)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what is drawn together."""
        found = self._sampler(trial.number).infer_relative_search_space(study, trial)
        return {name: found[name] for name in sorted(found)}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw what is drawn together."""
        sampler = self._sampler(trial.number)
        sampler.infer_relative_search_space(study, trial)  # some keep what they need for it
        return sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter by itself."""
        sampler = self._sampler(trial.number, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Pass on that a trial begins."""
        self._sampler(trial.number).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Pass on how a trial ended."""
        self._sampler(trial.number).after_trial(study, trial, state, values)


def build_pruner(choice: Choice | None) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner."""
    if choice is None:
        return optuna.pruners.NopPruner()
    return getattr(optuna.pruners, PRUNERS[choice.name])(**choice.arguments)
