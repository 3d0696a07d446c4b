"""Samplers that are reseeded for each trial and parameter, so that a resumed search proposes the same values."""

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

# Draws one sequence for all trials, which would lose its even spread with a new seed for each.
OF_ONE_SEED = ("qmc",)


class ReseededSampler(BaseSampler):
    """Wraps one of Optuna's samplers, with a separate seed for each trial and parameter.

    Proposals depend only on the finished trials and not on the state of a process, so that a trial whose process was
    killed is proposed again with the same values.
    """

    def __init__(self, choice: Choice, seed: int, label: str = "") -> None:
        self._choice, self._seed, self._label = choice, seed, label

    def _sampler(self, *parts: Any) -> BaseSampler:
        seeding = (self._seed, self._label) if self._choice.name in OF_ONE_SEED else (self._seed, self._label, *parts)
        digest = hashlib.sha256(repr(seeding).encode()).digest()
        arguments = {**self._choice.arguments, "seed": int.from_bytes(digest[:4], "big")}
        return getattr(optuna.samplers, SAMPLERS[self._choice.name])(**arguments)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are drawn jointly."""
        found = self._sampler(trial.number).infer_relative_search_space(study, trial)
        return {name: found[name] for name in sorted(found)}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw parameters jointly."""
        sampler = self._sampler(trial.number)
        sampler.infer_relative_search_space(study, trial)  # some samplers store state for the next call
        return sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter independently."""
        sampler = self._sampler(trial.number, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Notify the sampler of a new trial."""
        self._sampler(trial.number).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Notify the sampler of a finished trial."""
        self._sampler(trial.number).after_trial(study, trial, state, values)


def build_pruner(choice: Choice | None) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner."""
    if choice is None:
        return optuna.pruners.NopPruner()
    return getattr(optuna.pruners, PRUNERS[choice.name])(**choice.arguments)
