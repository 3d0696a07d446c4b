"""A study: the trials of one search, kept by Optuna and worked on by as many processes as one likes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from cellstate.config.signatures import shown
from cellstate.errors import RequestError
from cellstate.sweep.search.folds import Part
from cellstate.sweep.search.samplers import ReseededSampler, build_pruner
from cellstate.sweep.search.settings import Settings
from cellstate.sweep.search.space import Parameter, drawn
from cellstate.sweep.search.storage import quiet_optuna

if TYPE_CHECKING:
    from cellstate.report.sweep.reading import JobRow

IDENTITY, PLACE, JOB, SURPLUS, REASON = "cellstate", "place", "job", "surplus", "reason"
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
}


@dataclass(frozen=True)
class Trial:
    """One trial, as the study has it.

    Attributes:
        number: from 0 on.
        state: complete, pruned, failed or running.
        values: of the objectives; of a pruned one, what its last validation found.
        params: key -> value of the config, of those parameters that it searches.
        validations: how many were reported.
        job: the folder of its job, once it has one.
        key: the hash of its job.
        reason: why it failed or was given up.
        seconds: from its proposal to its end.
    """

    number: int
    state: str
    values: tuple[float, ...] | None
    params: Mapping[str, Any]
    validations: int
    job: str | None = None
    key: str | None = None
    reason: str | None = None
    seconds: float | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.state != "running"


class Study:
    """The trials of a search.

    Every trial carries the mark of the place that it is worked on at, the folder of a sweep: whoever works there takes
    up what a killed process has left, and leaves alone what lies elsewhere.

    Args:
        storage: where it is kept.
        name: of the study.
        settings: of the search.
        space: its parameters, in order.
        part: which of the searches of a command it is.
        place: the mark of the folder that this process works in.
        identity: what must be as it was when the study was begun: name -> value.
        busy: the jobs that are worked on in this folder, by their hash.

    Attributes:
        changed: what the study was begun with and is no longer, a line each, where it had nothing to lose.

    Raises:
        RequestError: the study was begun with something else, and has trials that could not be compared.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        settings: Settings,
        space: Sequence[Parameter],
        *,
        part: Part,
        place: str,
        identity: Mapping[str, Any],
        busy: Collection[str] = (),
    ) -> None:
        self.storage, self.name, self.settings, self.part = storage, name, settings, part
        self._space, self._place = {parameter.key: parameter for parameter in space}, place
        self._sampler = ReseededSampler(settings.sampler, settings.seed, part.label)
        self._pruner = build_pruner(settings.pruner)
        self.changed: list[str] = []
        with quiet_optuna():
            try:
                study = optuna.load_study(storage=storage, study_name=name)
            except KeyError:
                study = self._create()
            begun = study.user_attrs.get(IDENTITY)
            if begun is not None and (found := differences(begun, identity)):
                if not self._unused(study, busy):
                    raise RequestError(
                        *(f"study {name}: {one}; begin another with sweep.name=NAME, or put it back" for one in found)
                    )
                optuna.delete_study(study_name=name, storage=storage)
                study, begun, self.changed = self._create(), None, found
            if begun is None:
                study.set_user_attr(IDENTITY, dict(identity))

    def _create(self) -> optuna.Study:
        return optuna.create_study(  # two processes may come to this at the same time
            storage=self.storage, study_name=self.name, directions=self.settings.directions, load_if_exists=True
        )

    def _unused(self, study: optuna.Study, busy: Collection[str]) -> bool:
        """Say whether no trial has reached anything, and none is worked on, as far as this folder knows."""
        for one in study.get_trials(deepcopy=False):
            job: Mapping[str, Any] = one.user_attrs.get(JOB) or {}
            elsewhere = one.user_attrs.get(PLACE) != self._place
            if one.state in (TrialState.COMPLETE, TrialState.PRUNED):
                return False
            if one.state == TrialState.RUNNING and (elsewhere or job.get("key") in busy):
                return False
        return True

    def _load(self) -> optuna.Study:
        """Return Optuna's object anew, as it holds on to the trials that it has once seen."""
        return optuna.load_study(storage=self.storage, study_name=self.name, sampler=self._sampler, pruner=self._pruner)

    # ------------------------------------------------------------------ reading

    def trials(self) -> list[Trial]:
        """Return all trials, in order."""
        with quiet_optuna():
            found = self._load().get_trials(deepcopy=False)
        return [self._read(one) for one in found if not one.user_attrs.get(SURPLUS)]

    def unfinished(self) -> list[Trial]:
        """Return the trials of this place that are not finished, in order."""
        with quiet_optuna():
            found = self._load().get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        here = [one for one in found if one.user_attrs.get(PLACE) == self._place]
        return [self._read(one) for one in here if not one.user_attrs.get(SURPLUS)]

    def _read(self, one: FrozenTrial) -> Trial:
        job: Mapping[str, Any] = one.user_attrs.get(JOB) or {}
        params = {key: self._space[key].value(value) for key, value in one.params.items() if key in self._space}
        return Trial(
            one.number, STATES[one.state], None if one.values is None else tuple(one.values), params,
            len(one.intermediate_values), job.get("folder"), job.get("key"), one.user_attrs.get(REASON),
            _seconds(one.datetime_start, one.datetime_complete),
        )  # fmt: skip

    def id_of(self, trial: Trial) -> int:
        """Return by what the storage knows a trial."""
        study = self.storage.get_study_id_from_name(self.name)
        return self.storage.get_trial_id_from_study_id_trial_number(study, trial.number)

    # ------------------------------------------------------------------ proposing

    def ask(self) -> Trial | None:
        """Return a new trial without its values yet; None where there are as many as there are to be.

        Where others share the study from elsewhere, two may add the last one at the same time: the later one is not
        counted, as the earlier ones alone are as many as there are to be.
        """
        with quiet_optuna():
            if len(self.trials()) >= self.settings.n_trials:
                return None
            study_id = self.storage.get_study_id_from_name(self.name)
            begun = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={PLACE: self._place})
            number = self.storage.get_trial(self.storage.create_new_trial(study_id, begun)).number
            place, trials = next((at, one) for at, one in enumerate(self.trials()) if one.number == number)
            if place < self.settings.n_trials:
                return trials
            self.storage.set_trial_user_attr(self.id_of(trials), SURPLUS, True)
            self.storage.set_trial_state_values(self.id_of(trials), TrialState.FAIL)
            return None

    def values(self, trial: Trial, otherwise: Callable[[str], Any]) -> dict[str, Any]:
        """Return key -> value of what a trial searches, which the sampler draws where it has not yet.

        Args:
            trial: an unfinished one.
            otherwise: gives the value of a key that is not searched.
        """
        with quiet_optuna():
            running = optuna.trial.Trial(self._load(), self.id_of(trial))
            return drawn(list(self._space.values()), lambda parameter: suggested(running, parameter), otherwise)

    def note_job(self, trial: Trial, folder: str, key: str) -> None:
        """Write down which job a trial is."""
        if (trial.job, trial.key) != (folder, key):
            self.storage.set_trial_user_attr(self.id_of(trial), JOB, {"folder": folder, "key": key})

    # ------------------------------------------------------------------ ending

    def settle(self, trial: Trial, row: JobRow) -> Trial | None:
        """End a trial as its job ended; None where that goes on, or is to be gone on with.

        Args:
            trial: an unfinished one.
            row: its job, as ``sweep.json`` has it.

        Raises:
            RequestError: no run can have the objective that is asked for.
        """
        values: list[float] | None = None
        state, reason = None, row["reason"]
        if row["status"] == "completed":
            found = objective_values(self.settings.objectives, row)
            values, state = [value for value in found if value is not None], TrialState.COMPLETE
            if len(values) < len(found):
                values, state, reason = None, TrialState.FAIL, "the objective has no value that is a number"
        elif row["status"] == "pruned":
            state = TrialState.PRUNED
        elif row["status"] == "failed" and not (row["failure"] or {}).get("passing"):
            state = TrialState.FAIL
        if state is None:
            return None
        with quiet_optuna():
            study = self._load()
            if reason:
                self.storage.set_trial_user_attr(self.id_of(trial), REASON, str(reason))
            self._take_over_validations(study, trial)
            study.tell(trial.number, values=values, state=state, skip_if_finished=True)
            return self._read(self.storage.get_trial(self.id_of(trial)))

    def _take_over_validations(self, study: optuna.Study, trial: Trial) -> None:
        """Give a trial whose job is that of another one the validations that were reported for that one."""
        if trial.validations:
            return
        for other in study.get_trials(deepcopy=False):
            if other.number != trial.number and (other.user_attrs.get(JOB) or {}).get("key") == trial.key:
                for step, value in other.intermediate_values.items():
                    self.storage.set_trial_intermediate_value(self.id_of(trial), step, value)
                return

    # ------------------------------------------------------------------ results

    def ranked(self) -> list[Trial]:
        """Return the complete trials, the best first by the first objective; of equals the earlier one."""
        sign = -1 if self.settings.directions[0] == "maximize" else 1
        done = [trial for trial in self.trials() if trial.state == "complete" and trial.values]
        return sorted(done, key=lambda trial: (sign * (trial.values or (0.0,))[0], trial.number))

    def front(self) -> list[Trial]:
        """Return the trials than which none is better in one objective and as good in all others, the best first."""
        with quiet_optuna():
            best = {trial.number for trial in self._load().best_trials}
        found, seen = [], set()
        for trial in self.ranked():
            if trial.number in best and trial.values not in seen:
                found.append(trial)
                seen.add(trial.values)
        return found

    @property
    def full(self) -> bool:
        """Whether it has all its trials, each of them finished."""
        trials = self.trials()
        return len(trials) >= self.settings.n_trials and all(trial.finished for trial in trials)


def suggested(trial: optuna.trial.Trial, parameter: Parameter) -> Any:
    """Return the config's value for what a trial draws of a parameter, or has drawn of it before."""
    key, of = parameter.key, parameter.distribution()
    if isinstance(of, CategoricalDistribution):
        return parameter.value(trial.suggest_categorical(key, of.choices))
    suggest: Any = trial.suggest_int if isinstance(of, IntDistribution) else trial.suggest_float
    return parameter.value(suggest(key, of.low, of.high, log=of.log, step=of.step))


def objective_values(objectives: Sequence[str], row: JobRow) -> list[float | None]:
    """Return what a complete job reached, None where it is no number.

    Raises:
        RequestError: its task has no such metric.
    """
    found: list[float | None] = []
    for objective in objectives:
        if objective == (row["best"] or {}).get("monitor"):
            found.append(row["best"]["value"])
        elif objective == "seconds":
            found.append((row["seconds"] or {}).get("fit"))
        elif objective == "parameters":
            found.append(row["parameters"])
        else:
            metric = objective.partition("/")[2]
            if metric not in row["val"]:
                known = ", ".join(f"val/{name}" for name in row["val"])
                raise RequestError(f"sweep.objective={objective}: the trials have no such metric; there are: {known}")
            found.append(row["val"][metric])
    return found


def cells(study: Study, trial: Trial) -> dict[str, Any]:
    """Return a trial as a row of a table."""
    values = dict(zip(study.settings.objectives, trial.values or (), strict=False))
    label = {"search": study.part.label} if study.part.label else {}
    ends = {"validations": trial.validations, "job": trial.job, "reason": trial.reason}
    return {**label, "trial": trial.number, "state": trial.state, **trial.params, **values, **ends}


def is_full(storage: BaseStorage, name: str, n_trials: int) -> bool:
    """Say whether a study is there that has all its trials, each of them finished."""
    with quiet_optuna():
        try:
            found = optuna.load_study(storage=storage, study_name=name).get_trials(deepcopy=False)
        except KeyError:
            return False
    counted = [one for one in found if not one.user_attrs.get(SURPLUS)]
    return len(counted) >= n_trials and all(one.state.is_finished() for one in counted)


def differences(begun: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that a study was begun with and that is another one now."""
    problems = []
    for part in dict.fromkeys((*begun, *asked)):
        was, now = begun.get(part), asked.get(part)
        if was == now or part == "hash":
            continue
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            pairs = {key: (was.get(key), now.get(key)) for key in (*was, *now) if was.get(key) != now.get(key)}
        else:
            pairs = {"": (was, now)}
        for key, (before, after) in pairs.items():
            place = " ".join(word for word in (part, key) if word)
            problems.append(f"{place} was {_said(before)} and is {_said(after)}")
    if not problems and begun.get("hash") != asked.get("hash"):
        problems.append("the config that is searched was another, as the experiment's file or cellstate has changed")
    return problems


def _said(value: Any) -> str:
    if value is None:
        return "not there"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(part)}" for key, part in value.items() if part is not None) + "}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else shown(value)


def _seconds(began: datetime | None, ended: datetime | None) -> float | None:
    return (ended - began).total_seconds() if began and ended else None
