"""A study: the trials of one search, stored by Optuna and shared by any number of processes."""

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
    """One trial of the study.

    Attributes:
        number: from 0.
        state: complete, pruned, failed or running.
        values: of the objectives; for a pruned trial, of its last validation.
        params: key -> value of its searched parameters.
        validations: number of reported validations.
        job: folder of its job, once known.
        key: hash of its job.
        reason: of failure or pruning.
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
        """Whether it has ended."""
        return self.state != "running"


class Study:
    """The trials of a search.

    Every trial is marked with the sweep folder that it is run in: processes of that folder resume trials left by killed
    ones, and ignore those of other folders.

    Args:
        storage: of the study.
        name: of the study.
        settings: of the search.
        space: its parameters, in order.
        part: the search of the command.
        place: mark of this process's folder.
        identity: name -> value of everything that must not change during the study.
        busy: hashes of the jobs that are running in this folder.

    Attributes:
        changed: lines on changes of ``identity`` for which an unused study was replaced.

    Raises:
        RequestError: ``identity`` has changed, and the study has trials that would not be comparable.
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
            before = study.user_attrs.get(IDENTITY)
            if before is not None and (found := differences(before, identity)):
                if not self._unused(study, busy):
                    raise RequestError(
                        *(f"study {name}: {one}; start another with sweep.name=NAME, or undo it" for one in found)
                    )
                optuna.delete_study(study_name=name, storage=storage)
                study, before, self.changed = self._create(), None, found
            if before is None:
                study.set_user_attr(IDENTITY, dict(identity))

    def _create(self) -> optuna.Study:
        return optuna.create_study(  # two processes may do this at the same time
            storage=self.storage, study_name=self.name, directions=self.settings.directions, load_if_exists=True
        )

    def _unused(self, study: optuna.Study, busy: Collection[str]) -> bool:
        """Whether no trial has a result, and none is running as far as this folder knows."""
        for one in study.get_trials(deepcopy=False):
            job: Mapping[str, Any] = one.user_attrs.get(JOB) or {}
            elsewhere = one.user_attrs.get(PLACE) != self._place
            if one.state in (TrialState.COMPLETE, TrialState.PRUNED):
                return False
            if one.state == TrialState.RUNNING and (elsewhere or job.get("key") in busy):
                return False
        return True

    def _load(self) -> optuna.Study:
        """Return a new Optuna study, as an existing one caches its trials."""
        return optuna.load_study(storage=self.storage, study_name=self.name, sampler=self._sampler, pruner=self._pruner)

    # ------------------------------------------------------------------ reading

    def trials(self) -> list[Trial]:
        """Return all trials, in order."""
        with quiet_optuna():
            found = self._load().get_trials(deepcopy=False)
        return [self._read(one) for one in found if not one.user_attrs.get(SURPLUS)]

    def unfinished(self) -> list[Trial]:
        """Return the unfinished trials of this folder, in order."""
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
        """Return the ID of a trial in the storage."""
        study = self.storage.get_study_id_from_name(self.name)
        return self.storage.get_trial_id_from_study_id_trial_number(study, trial.number)

    # ------------------------------------------------------------------ proposing

    def ask(self) -> Trial | None:
        """Return a new trial, still without values; None if all trials have been proposed.

        If processes of several folders add the last trial at the same time, the surplus ones are not counted.
        """
        with quiet_optuna():
            if len(self.trials()) >= self.settings.n_trials:
                return None
            study_id = self.storage.get_study_id_from_name(self.name)
            new = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={PLACE: self._place})
            number = self.storage.get_trial(self.storage.create_new_trial(study_id, new)).number
            place, trials = next((at, one) for at, one in enumerate(self.trials()) if one.number == number)
            if place < self.settings.n_trials:
                return trials
            self.storage.set_trial_user_attr(self.id_of(trials), SURPLUS, True)
            self.storage.set_trial_state_values(self.id_of(trials), TrialState.FAIL)
            return None

    def values(self, trial: Trial, otherwise: Callable[[str], Any]) -> dict[str, Any]:
        """Return key -> value of a trial's parameters, drawn by the sampler if needed."""
        with quiet_optuna():
            running = optuna.trial.Trial(self._load(), self.id_of(trial))
            return drawn(list(self._space.values()), lambda parameter: suggested(running, parameter), otherwise)

    def note_job(self, trial: Trial, folder: str, key: str) -> None:
        """Store the job of a trial."""
        if (trial.job, trial.key) != (folder, key):
            self.storage.set_trial_user_attr(self.id_of(trial), JOB, {"folder": folder, "key": key})

    # ------------------------------------------------------------------ ending

    def settle(self, trial: Trial, row: JobRow) -> Trial | None:
        """Finish a trial whose job has ended; None if the job is running or will be resumed."""
        values: list[float] | None = None
        state, reason = None, row["reason"]
        if row["status"] == "completed":
            found = objective_values(self.settings.objectives, row)
            values, state = [value for value in found if value is not None], TrialState.COMPLETE
            if len(values) < len(found):
                values, state, reason = None, TrialState.FAIL, "the objective is not a finite number"
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
        """Copy the reported validations from another trial with the same job."""
        if trial.validations:
            return
        for other in study.get_trials(deepcopy=False):
            if other.number != trial.number and (other.user_attrs.get(JOB) or {}).get("key") == trial.key:
                for step, value in other.intermediate_values.items():
                    self.storage.set_trial_intermediate_value(self.id_of(trial), step, value)
                return

    # ------------------------------------------------------------------ results

    def ranked(self) -> list[Trial]:
        """Return the complete trials, best first by the first objective, ties in order."""
        sign = -1 if self.settings.directions[0] == "maximize" else 1
        done = [trial for trial in self.trials() if trial.state == "complete" and trial.values]
        return sorted(done, key=lambda trial: (sign * (trial.values or (0.0,))[0], trial.number))

    def front(self) -> list[Trial]:
        """Return the Pareto-optimal trials, best first by the first objective."""
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
        """Whether it has all its trials, all of them finished."""
        trials = self.trials()
        return len(trials) >= self.settings.n_trials and all(trial.finished for trial in trials)


def suggested(trial: optuna.trial.Trial, parameter: Parameter) -> Any:
    """Return the config value of a parameter in a trial, drawn on first use."""
    key, of = parameter.key, parameter.distribution()
    if isinstance(of, CategoricalDistribution):
        return parameter.value(trial.suggest_categorical(key, of.choices))
    suggest: Any = trial.suggest_int if isinstance(of, IntDistribution) else trial.suggest_float
    return parameter.value(suggest(key, of.low, of.high, log=of.log, step=of.step))


def objective_values(objectives: Sequence[str], row: JobRow) -> list[float | None]:
    """Return the objectives of a completed job, None for those that are not finite."""
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
                raise RequestError(f"sweep.objective={objective}: the trials do not have it; choose one of {known}")
            found.append(row["val"][metric])
    return found


def cells(study: Study, trial: Trial) -> dict[str, Any]:
    """Return a trial as a row of a table."""
    values = dict(zip(study.settings.objectives, trial.values or (), strict=False))
    label = {"search": study.part.label} if study.part.label else {}
    ends = {"validations": trial.validations, "job": trial.job, "reason": trial.reason}
    return {**label, "trial": trial.number, "state": trial.state, **trial.params, **values, **ends}


def is_full(storage: BaseStorage, name: str, n_trials: int) -> bool:
    """Whether a study exists and has all its trials, all of them finished."""
    with quiet_optuna():
        try:
            found = optuna.load_study(storage=storage, study_name=name).get_trials(deepcopy=False)
        except KeyError:
            return False
    counted = [one for one in found if not one.user_attrs.get(SURPLUS)]
    return len(counted) >= n_trials and all(one.state.is_finished() for one in counted)


def differences(before: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return a line for each difference between the stored and the current identity of a study."""
    problems = []
    for part in dict.fromkeys((*before, *current)):
        was, now = before.get(part), current.get(part)
        if was == now or part == "hash":
            continue
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            pairs = {key: (was.get(key), now.get(key)) for key in (*was, *now) if was.get(key) != now.get(key)}
        else:
            pairs = {"": (was, now)}
        for key, (was, now) in pairs.items():
            place = " ".join(word for word in (part, key) if word)
            problems.append(f"{place} was {_format(was)} and is now {_format(now)}")
    if not problems and before.get("hash") != current.get("hash"):
        problems.append("the config has changed, as the experiment's file or cellstate was changed")
    return problems


def _format(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(part)}" for key, part in value.items() if part is not None) + "}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else shown(value)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start and end else None
