"""Base class of sweepers: runs a list of jobs through the launcher, each once, and tracks their status."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from cellstate.config.check import shown
from cellstate.config.compose import of_one_run, own_folder
from cellstate.errors import RequestError, RunError
from cellstate.runs.stopping import SIGNALS, interruptible
from cellstate.sweep import display, naming
from cellstate.sweep.folder import SweepFolder
from cellstate.sweep.identity import Job, group_key, job_key, overrides_of, repetition, trained
from cellstate.sweep.job import SweepTask

FULL_ERROR = "HYDRA_FULL_ERROR"
POLL = 0.5  # seconds between two checks of jobs that other commands run


class JobSweeper(Sweeper):
    """Runs jobs through Hydra's launcher, each once, even if the command is repeated or killed.

    A subclass calls ``run_jobs`` in its ``sweep``, once or several times.
    """

    job_class: type[SweepTask] = SweepTask  # executed by the launcher
    folder: SweepFolder
    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store Hydra's context, name the sweep, and create the launcher."""
        self.config, self.hydra_context = config, hydra_context
        self.quiet = bool(config.get("quiet"))
        self.trouble: Exception | None = None  # of the launcher, or of the sweep's own files
        self._check_options()
        with open_dict(config):
            config.sweep.name = self.name()
        self._full_error = getattr(task_function, "full_error", None)
        self.task = self.job_class(
            inspect.unwrap(task_function),  # without the command's error handling: the sweep records failures
            sys.argv,
            verbose=bool(config.sweep.verbose) and not self.quiet,
            full_error=self._full_error not in (None, "", "0"),
        )
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=self.task, config=config
        )

    def name(self) -> str:
        """Return the name of the sweep and of its folder."""
        experiment = self.called(str(self.config.hydra.runtime.choices.get("experiment")))
        return naming.sweep_name(self.config.sweep.name, self.overrides(), experiment, self.called)

    def called(self, experiment: str) -> str:
        """Return the name of an experiment, prefixed with the name of its folder if it is in a user's config folder.

        ``experiment=best`` of two searches are two experiments.
        """
        place = own_folder(self.config.hydra.runtime.config_sources, experiment)
        return experiment if place is None else f"{place.name}_{experiment}"

    def arguments(self) -> list[str]:
        """Return the arguments of the command line, without those for Hydra."""
        words: Any = OmegaConf.to_container(self.config.hydra.overrides.task, resolve=False)
        return words

    def parsed(self, words: Sequence[str]) -> list[Override]:
        """Return overrides parsed by Hydra."""
        return OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(list(words))

    def overrides(self) -> list[Override]:
        """Return all overrides of the sweep."""
        return self.parsed(self.arguments())

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep."""
        raise NotImplementedError

    # ------------------------------------------------------------------ jobs

    @contextmanager
    def session(self) -> Iterator[None]:
        """Open the sweep's folder while jobs are run, and report the results at the end.

        Raises:
            RunError: a job failed, or is unfinished.
            RequestError: jobs failed, all of them because of invalid values.
            KeyboardInterrupt: the sweep was stopped.
        """
        words: Any = OmegaConf.to_container(self.config.hydra.overrides.hydra, resolve=False)
        given = any(word.startswith("hydra.sweep.dir=") for word in words)
        self.folder = SweepFolder(Path(self.config.hydra.sweep.dir), "hydra.sweep.dir" if given else "sweep.name")
        self.keys: list[str] = []
        try:
            with self.folder.registered(self.task.by):
                yield
        except KeyboardInterrupt as error:
            rows = self.report()
            raise KeyboardInterrupt(self.interrupted(rows)) from error
        rows = self.report()
        if (failure := self.failures(rows)) is not None:
            raise failure

    def report(self) -> list[dict[str, Any]]:
        """Update ``sweep.json``, print the tables, and return the rows of this command's jobs."""
        content = self.folder.refresh()
        if not self.quiet:
            display.print_results(self.folder.path, content, self.keys)
        return [row for row in content["jobs"] if row["key"] in self.keys]

    def interrupted(self, rows: list[dict[str, Any]]) -> str:
        """Return the message for a sweep that was stopped; ``rows`` are those of this command's jobs."""
        return display.interrupted(rows)

    def failures(self, rows: list[dict[str, Any]]) -> Exception | None:
        """Return one error for all failures; None if there are none."""
        return display.failures(self.folder.read()["jobs"], rows, self.trouble)

    def run_jobs(
        self,
        jobs: Sequence[Job],
        *,
        at_a_time: int | None = None,
        leaving: Collection[str] = ("completed", "running"),
        watched: bool = True,
    ) -> list[dict[str, Any]]:
        """Run jobs and return their rows in ``sweep.json``, complete or not.

        Args:
            jobs: from ``job``.
            at_a_time: number of jobs per call of the launcher; None: all.
            leaving: statuses of jobs that are not run.
            watched: whether to print each result, to wait for jobs that other commands run, and to remove jobs that
                were rejected in earlier commands.
        """
        rows = self.folder.plan(jobs, self.task.command, self.task.by, forget=watched)
        self.keys += [row["key"] for row in rows]
        by_key = {job.key: job for job in jobs}
        # A job started by an earlier command keeps its folder.
        words = {row["folder"]: [*by_key[row["key"]].words, *self._placed(row["folder"])] for row in rows}
        waiting = [row for row in rows if row["status"] not in leaving]
        watch = display.Watch(self.folder, self.keys, quiet=self.quiet, bar=not self.task.verbose)
        with watch if watched else nullcontext():
            step = at_a_time or max(1, len(waiting))
            for start in range(0, len(waiting), step):
                self._launch([words[row["folder"]] for row in waiting[start : start + step]], start)
            while watched and self.trouble is None and (left := self._left_by_others([row["key"] for row in rows])):
                self._launch([words[row["folder"]] for row in left], 0)
        found = {row["key"]: row for row in self.folder.plan(jobs, self.task.command, self.task.by)}
        return [found[job.key] for job in jobs]

    def _left_by_others(self, keys: Collection[str]) -> list[dict[str, Any]]:
        """Wait for jobs that other commands run; return those that were not finished there."""
        theirs = [row["key"] for row in self.folder.observe(keys) if row["status"] == "running"]
        if not theirs:
            return []
        if not self.quiet:
            display.print_waiting(len(theirs))
        with interruptible():
            rows = self.folder.observe(theirs)
            while any(row["status"] == "running" for row in rows):
                time.sleep(POLL)
                rows = self.folder.observe(theirs)
        return [row for row in rows if row["status"] in ("interrupted", "pending")]

    def job(self, words: Sequence[str], named_by: Iterable[str], config: DictConfig | None = None) -> Job:
        """Return the job of some overrides."""
        config = self.composed(words) if config is None else config
        key, overrides = job_key(config), overrides_of(words)
        folder = naming.job_name(overrides, [name.lstrip("+") for name in named_by], key)
        return Job(folder, key, group_key(config), tuple(words), overrides, repetition(config), trained(config))

    def composed(self, words: Sequence[str]) -> DictConfig:
        """Return the config of the job of some overrides, without Hydra's part."""
        config, choices = self.loaded([*words, *self._placed("job")])
        of_one_run(config, choices.get("experiment"))
        return config

    def loaded(self, words: Sequence[str]) -> tuple[DictConfig, dict[str, Any]]:
        """Return the config composed of overrides, without Hydra's part, and the choice of each group."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(words))
        choices: Any = OmegaConf.to_container(config.hydra.runtime.choices)
        with read_write(config), open_dict(config):
            del config["hydra"]
        return config, choices

    def _placed(self, folder: str) -> list[str]:
        return [f"sweep.name='{self.config.sweep.name}'", f"hydra.sweep.subdir='{folder}'"]

    def _launch(self, words: Sequence[Sequence[str]], start: int) -> None:
        """Run jobs with the launcher; its own failure is kept in ``trouble`` until the results are printed."""
        composing = os.environ.pop(FULL_ERROR, None)
        if self._full_error is not None:
            os.environ[FULL_ERROR] = self._full_error
        verbose = [logging.getLogger(name) for name in ("hydra", "hydra_plugins")]  # at least a line per job
        levels = [logger.level for logger in verbose]
        for logger in verbose:
            logger.setLevel(logging.WARNING)
        try:
            with self._stopping():
                for job in self.launcher.launch(words, initial_job_idx=start):
                    if job.status is JobStatus.FAILED:  # not a training failure, which is in sweep.json
                        self.trouble = job._return_value
        except (HydraException, RequestError, RunError):
            raise
        except Exception as error:
            self.trouble = error
        finally:
            for logger, level in zip(verbose, levels, strict=True):
                logger.setLevel(level)
            if composing is not None:
                os.environ[FULL_ERROR] = composing

    # ------------------------------------------------------------------ stopping

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Stop on Ctrl-C and SIGTERM after the running jobs have saved their state.

        Jobs in this process save themselves. Jobs in other processes are sent SIGTERM and waited for; a second signal
        stops without waiting.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        stopping, in_this_process = False, self.config.hydra.runtime.choices.get("hydra/launcher") == "basic"

        def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            nonlocal stopping
            if stopping or in_this_process:
                raise KeyboardInterrupt
            stopping = True
            for process in self.folder.request_stop(self.task.by):
                os.kill(process, signal.SIGTERM)
            if not self.quiet:
                display.print_stopping()

        before = {number: signal.signal(number, stop) for number in SIGNALS}
        try:
            yield
        except Exception as error:  # of a launcher whose processes were killed during start-up
            if stopping:
                raise KeyboardInterrupt from error
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if stopping:
            self.folder.clear_stop(self.task.by)  # no process reads it any more; after a second signal it stays
            raise KeyboardInterrupt

    def _check_options(self) -> None:
        """Raise RequestError for options that are not supported in a sweep."""
        config, problems = self.config, []
        if config.get("run") is not None:
            problems.append("run: resumes a single run; remove -m, or repeat the command of the sweep")
        if not isinstance(config.sweep.verbose, bool):
            problems.append(f"sweep.verbose={shown(config.sweep.verbose)}: should be true or false")
        words: Any = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
        if any(word.startswith("hydra.sweep.subdir=") for word in words):
            problems.append("hydra.sweep.subdir: a job's folder is named by its config; remove it")
        if any(word.key_or_group == "debug" and word.is_sweep_override() for word in self.overrides()):
            problems.append("debug: cannot be swept, as debug runs have another folder; choose one value")
        if any(
            word.key_or_group.partition(".")[0] == "sweep" and word.is_sweep_override() for word in self.overrides()
        ):
            problems.append("sweep: cannot be swept; choose one value")
        if problems:
            raise RequestError(*problems)
