"""Watches the run of a trial in its process: reports validations to the study, and asks the pruner."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from cellstate.errors import RequestError, warn
from cellstate.sweep.search.samplers import build_pruner
from cellstate.sweep.search.settings import Choice
from cellstate.sweep.search.storage import open_storage, quiet_optuna


@dataclass(frozen=True)
class Place:
    """Location of a trial, as plain values that are pickled for other processes and machines.

    Attributes:
        storage: of the study, as for ``open_storage``.
        study: its name.
        trial: ID of the trial in the storage.
        metric: reported to the study, such as ``val/loss``.
        pruner: None: metrics are only reported.
    """

    storage: str
    study: str
    trial: int
    metric: str
    pruner: Choice | None


class TrialWatcher:
    """Reports each validation of a run once, and stops the run if the pruner says so.

    If the study cannot be reached, it warns and training continues: the result is reported when the run has ended.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._pruner = build_pruner(place.pruner)
        self._storage: BaseStorage | None = None
        self._warned = False

    def give_up(self, validation: int, scores: Mapping[str, float]) -> str | None:
        """Report a validation, and return a reason to stop the run, or None."""
        value = scores.get(self._place.metric)
        if value is None:
            return None
        try:
            with quiet_optuna():
                prune = self._ask(validation, float(value))
        except Exception as error:  # storages raise all kinds: a database restarts, a file system is full
            if not self._warned:
                reason = error.problems[0] if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"
                warn(f"a validation was not reported to the study ({reason})")
            self._warned = True
            return None
        return f"after validation {validation}: {self._place.metric} {value:.4g}" if prune else None

    def _ask(self, validation: int, value: float) -> bool:
        if self._storage is None:
            self._storage = open_storage(self._place.storage)
        storage = self._storage
        trial: FrozenTrial = storage.get_trial(self._place.trial)
        if trial.state.is_finished():  # the run was resumed manually
            return False
        if validation not in trial.intermediate_values:
            storage.set_trial_intermediate_value(self._place.trial, validation, value)
        # A killed run may have reported validations after its checkpoint: only those up to now count.
        known = copy.deepcopy(storage.get_trial(self._place.trial))
        known.intermediate_values = {at: one for at, one in known.intermediate_values.items() if at <= validation}
        # A new study, as an existing one caches its trials.
        study = optuna.load_study(storage=storage, study_name=self._place.study, pruner=self._pruner)
        return bool(self._pruner.prune(study, known))
