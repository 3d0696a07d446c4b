"""What looks on at the run of a trial, in the process that trains it: it reports to the study, and asks the pruner."""

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
    """Where a trial is found, as plain values: it is sent to other processes and machines.

    Attributes:
        storage: of the study, as ``open_storage`` takes it.
        study: its name.
        trial: by which the storage knows it.
        metric: what is reported, such as ``val/loss``.
        pruner: what decides; None: nothing is given up, and all is reported.
    """

    storage: str
    study: str
    trial: int
    metric: str
    pruner: Choice | None


class TrialWatcher:
    """Reports each validation of a run once, and gives up what the pruner does not think worth going on with.

    A study that cannot be reached is told, and costs no training: its value is told when the run is over.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._pruner = build_pruner(place.pruner)
        self._storage: BaseStorage | None = None
        self._told = False

    def give_up(self, validation: int, scores: Mapping[str, float]) -> str | None:
        """Report a validation, and say why to end the run if it is not worth going on with."""
        value = scores.get(self._place.metric)
        if value is None:
            return None
        try:
            with quiet_optuna():
                hopeless = self._ask(validation, float(value))
        except (
            Exception
        ) as error:  # whatever a storage raises: a database that is restarted, a file system that is full
            if not self._told:
                reason = error.problems[0] if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"
                warn(f"a validation was not reported to the study ({reason})")
            self._told = True
            return None
        return f"after validation {validation}: {self._place.metric} {value:.4g}" if hopeless else None

    def _ask(self, validation: int, value: float) -> bool:
        if self._storage is None:
            self._storage = open_storage(self._place.storage)
        storage = self._storage
        trial: FrozenTrial = storage.get_trial(self._place.trial)
        if trial.state.is_finished():  # somebody goes on with it by hand
            return False
        if validation not in trial.intermediate_values:
            storage.set_trial_intermediate_value(self._place.trial, validation, value)
        # A run that was killed may have reported more than it has kept: it is judged by what it has reached again.
        known = copy.deepcopy(storage.get_trial(self._place.trial))
        known.intermediate_values = {
            step: found for step, found in known.intermediate_values.items() if step <= validation
        }
        # Anew, as a study holds on to the trials that it has once seen: others have reported since.
        study = optuna.load_study(storage=storage, study_name=self._place.study, pruner=self._pruner)
        return bool(self._pruner.prune(study, known))
