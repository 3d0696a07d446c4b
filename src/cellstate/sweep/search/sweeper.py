"""The sweeper of searches: trials are proposed by Optuna, and each is a job of a sweep."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cellstate.errors import CellstateError, RequestError, RunError
from cellstate.runs.lock import exclusively
from cellstate.sweep import naming
from cellstate.sweep.display import troubles
from cellstate.sweep.identity import REPEATS, Job
from cellstate.sweep.search import display
from cellstate.sweep.search.best import FOLDER, write_experiment
from cellstate.sweep.search.checks import Asked, check_jobs, configs
from cellstate.sweep.search.folds import Part, parts
from cellstate.sweep.search.outer import estimate, fold_table, score_folds
from cellstate.sweep.search.settings import read_settings
from cellstate.sweep.search.storage import FILE, open_storage, quiet_optuna, reached, without_password
from cellstate.sweep.search.study import Study, Trial, cells, is_full
from cellstate.sweep.search.task import TrialTask
from cellstate.sweep.search.watcher import Place
from cellstate.sweep.sweeper import JobSweeper
from cellstate.sweep.tables import write_table

MOST_REJECTED = 3  # consecutive rejected trials, from the first one, after which the search stops
LEAVING = ("completed", "pruned", "running")


class SearchSweeper(JobSweeper):
    """Runs trials up to their total number, and finishes those left by killed processes."""

    job_class = TrialTask
    task: TrialTask
    studies: list[Study]
    scores: dict[str, Any]  # of the folds of a nested search that were scored

    def name(self) -> str:
        """Return the name of the sweep: the experiment, the search, and other overrides."""
        choices = self.config.hydra.runtime.choices
        words = [one for one in self.overrides() if not one.is_sweep_override() and one.key_or_group != "experiment"]
        parts = f"{self.called(str(choices.get('experiment')))}_{choices.get('sweep')}"
        swept = "".join(f"_{naming.slug(key)}" for key in sorted(self._swept))
        return naming.sweep_name(self.config.sweep.name, words, parts + swept)

    @cached_property
    def _swept(self) -> list[str]:
        return [word.get_key_element() for word in self.overrides() if word.is_sweep_override()]

    def sweep(self, arguments: list[str]) -> list[dict[str, Any]]:  # noqa: ARG002
        """Run the search; return its trials."""
        settings = read_settings(self.config)
        asked = Asked.of(self.config, self.overrides())
        check_jobs(self, asked)
        self.settings, self.asked, self.scores = settings, asked, {}
        self.rejected = 0
        self.parts = parts(self.config, settings, {word.key_or_group: word for word in asked.fixed})
        folder = Path(self.config.hydra.sweep.dir)
        self.place_of_study = settings.storage or str((folder / FILE).resolve())
        if settings.storage:
            open_storage(settings.storage)  # before the folder is created
        self._build()
        with self.session(), quiet_optuna():
            self._sweep()
        return self._rows()

    def _build(self) -> None:
        """Build data and networks of the space, before the folder is created."""
        names = [self._study_name(part) for part in self.parts]
        if self.settings.storage or Path(self.place_of_study).exists():
            with reached(self.place_of_study):
                storage = open_storage(self.place_of_study)
                if all(is_full(storage, name, self.settings.n_trials) for name in names):
                    return
        from cellstate.sweep.search.built import check_built  # torch is loaded here

        for part in reversed(self.parts):
            check_built((config for config, _ in configs(self, self.asked, part.words)), self.settings.objectives)

    def _study_name(self, part: Part) -> str:
        return f"{self.config.sweep.name}{part.suffix}"

    def _sweep(self) -> None:
        mark = self._mark()
        busy = {row["key"] for row in self.folder.refresh()["jobs"] if row["status"] == "running"}
        with reached(self.place_of_study), self._alone():
            storage = open_storage(self.place_of_study)
            self.studies = [self._open(mark, storage, part, busy) for part in self.parts]
        with display.Screen(self.total, quiet=self.quiet, bar=not self.task.verbose) as self.screen:
            self._announce()
            for study in self.studies:
                self._search(study)
                if self.trouble is not None:
                    return
        if self.settings.score:
            self._score()

    def _open(self, mark: str, storage: Any, part: Part, busy: set[str]) -> Study:
        return Study(
            storage, self._study_name(part), self.settings, self.asked.space, part=part, place=mark,
            identity=self.asked.identity(self.settings), busy=busy,
        )  # fmt: skip

    def _mark(self) -> str:
        """Return the mark of this folder, which identifies trials that are run here."""
        file = self.folder.path / ".mark"
        with self._alone():
            if not file.exists():
                file.write_text(secrets.token_hex(8))
            return file.read_text()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock the proposing and finishing of trials against other processes of this folder."""
        with (self.folder.path / ".search.lock").open("a") as file, exclusively(file):
            yield

    def _announce(self) -> None:
        finished = sum(trial.finished for study in self.studies for trial in study.trials())
        total = self.total
        already = f", {finished} already finished" if finished else ""
        self.screen.print(f"{total} trial{'s' * (total != 1)}{already}", style="bold")
        self.screen.print(f"  -> {self.folder.path}")
        if self.settings.storage:
            self.screen.print(f"  study {self.studies[-1].name} in {without_password(self.settings.storage)}")
        for line in dict.fromkeys(line for study in self.studies for line in study.changed):
            self.screen.print(f"  replaced an unused study: {line}")
        for line in self.asked.remarks:
            self.screen.print(f"  {line}")

    @property
    def total(self) -> int:
        """Total number of trials."""
        return self.settings.n_trials * len(self.parts)

    def _score(self) -> None:
        """Score the selected trial of each search on its held-out fold, once all searches are finished."""
        if not all(study.full for study in self.studies):
            self.screen.print("not scored yet: other processes are running trials; repeat the command afterwards")
            return
        known = (self.folder.read().get("search") or {}).get("scores") or {}
        try:
            self.scores = score_folds(self.folder.path, self.studies, known, ledger=self.config.ledger)
        except CellstateError as error:
            self.trouble = error

    # ------------------------------------------------------------------ trials

    def _search(self, study: Study) -> None:
        """Run trials of a study until none are left for this process."""
        attempts: dict[int, int] = {}
        while True:
            with self._alone():
                self._settle(study)
                jobs = {} if self.trouble is not None else self._take(study)
            if not jobs:
                return
            for number in jobs:
                attempts[number] = attempts.get(number, 0) + 1
                if attempts[number] > 2:
                    self.trouble = RunError(f"trial {number}: crashed twice without an error message; see its folder")
                    return
            rows = self.run_jobs(list(jobs.values()), leaving=LEAVING, watched=False)
            for row in rows:
                if row["status"] == "failed" and (row["failure"] or {}).get("passing"):
                    self.trouble = RunError(*row["failure"]["problems"])
            with self._alone():
                self._settle(study)

    def _take(self, study: Study) -> dict[int, Job]:
        """Return the next trials and their jobs: those left by killed processes, then new ones."""
        status = {row["key"]: row["status"] for row in self.folder.refresh()["jobs"]}
        found: dict[int, Job] = {}
        self.task.places = {}
        left = iter(study.unfinished())
        while len(found) < self.at_once:
            trial = next(left, None) or study.ask()
            if trial is None:
                break
            job = self._job(study, trial)
            if status.get(job.key) != "running":
                found[trial.number] = job
                if len(self.settings.objectives) == 1:
                    metric, pruner = self.settings.objectives[0], self.settings.pruner
                    place = Place(self.place_of_study, study.name, study.id_of(trial), metric, pruner)
                    self.task.places.setdefault(job.key, place)
        return found

    def _job(self, study: Study, trial: Trial) -> Job:
        """Return the job of a trial, drawing its values if needed."""
        values = study.values(trial, self.asked.given)
        job = self.job([*self.asked.words(values), *study.part.words], [*values, *REPEATS])
        # Trials are not repetitions: those that differ only in the fold belong to different searches.
        job = replace(job, group=job.key, repeat={})
        study.note_job(trial, job.folder, job.key)
        return job

    def _settle(self, study: Study) -> None:
        """Finish the trials whose jobs have ended in any process, and print their results."""
        rows = {row["key"]: row for row in self.folder.refresh()["jobs"]}
        for trial in study.unfinished():
            row = rows.get(trial.key or "")
            try:
                ended = None if row is None else study.settle(trial, row)
            except CellstateError as error:
                self.trouble = error
                return
            if ended is None or row is None:
                continue
            self._count_rejected(ended, row)
            finished = sum(one.finished for each in self.studies for one in each.trials())
            ranked = study.ranked()
            best = bool(ranked) and ranked[0].number == trial.number and len(self.settings.objectives) == 1
            others = [one for one in study.trials() if one.key == ended.key and one.number != ended.number]
            ran = next((one.number for one in others if one.finished), None)
            seconds = (row["seconds"] or {}).get("fit")
            self.screen.ended(study, ended, finished, best=best, seconds=seconds, ran=ran)

    def _count_rejected(self, trial: Trial, row: dict[str, Any]) -> None:
        """Stop the search if all its first trials are rejected, as the cause is then not in the space."""
        rejected = trial.state == "failed" and (row["failure"] or {}).get("exit_status") == RequestError.exit_status
        self.rejected = self.rejected + 1 if rejected else -self.total
        if self.rejected == MOST_REJECTED:
            self.trouble = RequestError(f"the first {MOST_REJECTED} trials were rejected: fix what they have in common")

    @property
    def at_once(self) -> int:
        """Number of trials that are proposed at a time."""
        if self.settings.at_once is not None:
            return self.settings.at_once
        processes = self.config.hydra.launcher.get("n_jobs") or 1
        if processes > 0:
            return int(processes)
        from joblib import cpu_count  # only its launcher has the key; -1 stands for all cores

        return max(1, cpu_count() + 1 + int(processes))

    def _placed(self, folder: str) -> list[str]:
        """Return overrides for a job's folder and against leaking the storage's password into its config."""
        return [*super()._placed(folder), *(["sweep.storage=null"] if "storage" in self.config.sweep else [])]

    # ------------------------------------------------------------------ results

    def report(self) -> list[dict[str, Any]]:
        """Update ``sweep.json`` and the experiments, print the tables, and return the trials."""
        studies = getattr(self, "studies", [])
        written = self._write_best(studies[-1]) if studies else []
        rows = self._rows()
        if studies:
            self.folder.note("search", self._content())
            trials = [cells(study, one) for study in studies for one in study.trials()]
            write_table(self.folder.path / "trials.csv", trials)
        if studies and not self.quiet:
            table = fold_table(self.scores, self.settings.objectives[0])
            display.print_results(self.folder.path, studies, written, [table] if table else [])
        return rows

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {"number": trial.number, "state": trial.state, "reason": trial.reason, "study": study, "trial": trial}
            for study in getattr(self, "studies", [])
            for trial in study.trials()
        ]

    def _content(self) -> dict[str, Any]:
        """Return the entry of the search in ``sweep.json``."""
        settings, study = self.settings, self.studies[-1]
        self.scores = self.scores or (self.folder.read().get("search") or {}).get("scores") or {}
        return {
            "study": study.name,
            "storage": without_password(settings.storage) if settings.storage else FILE,
            "n_trials": settings.n_trials,
            "sampler": settings.sampler.name,
            "pruner": settings.pruner.name if settings.pruner else None,
            "seed": settings.seed,
            "objectives": list(settings.objectives),
            "directions": list(settings.directions),
            "nested": settings.nested,
            "space": {parameter.key: parameter.as_dict() for parameter in self.asked.space},
            "trials": [
                {**asdict(one), "search": each.part.label} for each in self.studies for one in each.trials()
            ],
            "best": [one.number for one in study.front()],
            "scores": self.scores,
            "estimate": estimate(self.scores),
        }  # fmt: skip

    def _write_best(self, study: Study) -> list[str]:
        """Write the best trial, or the Pareto front of several objectives, as experiments; return their names."""
        front = study.front()
        best = (study.ranked() if len(self.settings.objectives) == 1 else front)[:1]
        several = [(f"front-{place}", trial) for place, trial in enumerate(front, 1)] if len(front) > 1 else []
        names = []
        for name, trial in [*(("best", one) for one in best), *several]:
            values = "  ".join(f"{objective} {value!r}" for objective, value in display.scores(study, trial))
            comments = [
                f"{'The best' if name == 'best' else 'One of the best'} of {len(study.trials())} trials of a search: "
                f"trial {trial.number}, {values}.",
                f"cellstate train --config-dir {self.folder.path} experiment={name}",
            ]
            words = [*self.asked.words(trial.params), *study.part.words]
            write_experiment(self.folder.path / FOLDER / f"{name}.yaml", self.loaded, words, trial.params, comments)
            names.append(name)
        return names

    def interrupted(self, rows: list[dict[str, Any]]) -> str:
        """Return the message for a search that was stopped."""
        finished = sum(row["state"] != "running" for row in rows)
        started = len(rows) - finished
        also = f", {started} started" if started else ""
        return f"interrupted with {finished} of {self.total} trials finished{also}; repeat the command to resume"

    def failures(self, rows: list[dict[str, Any]]) -> Exception | None:
        """Return one error for all failed trials and other failures; None if there are none."""
        failed_trials = [(row["study"], row["trial"]) for row in rows if row["state"] == "failed"]
        problems = display.failed(failed_trials)
        others = troubles(self.trouble)
        if not problems and not others:
            return None
        if isinstance(self.trouble, RequestError) and (not problems or self.rejected == MOST_REJECTED):
            return RequestError(*problems, *others)
        jobs = {row["folder"]: row for row in self.folder.read()["jobs"]}
        failed = [jobs.get(row["trial"].job, {}).get("failure") or {} for row in rows if row["state"] == "failed"]
        rejected = not others and all(one.get("exit_status") == RequestError.exit_status for one in failed)
        return (RequestError if rejected else RunError)(*problems, *others)
