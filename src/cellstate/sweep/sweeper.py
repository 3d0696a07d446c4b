"""What sweepers share: a list of jobs, each given to the launcher once, and what became of them."""

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
LOOK = 0.5  # seconds between two looks at what other commands work on


class JobSweeper(Sweeper):
    """Runs jobs through Hydra's launcher, each of them once, however often the command is repeated or killed.

    A sweeper that derives from it says which jobs, by calling ``run_jobs`` in its ``sweep``, once or often.
    """

    job_class: type[SweepTask] = SweepTask  # of what the launcher runs
    folder: SweepFolder
    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over what Hydra knows, name the sweep, and make the launcher ready."""
        self.config, self.hydra_context = config, hydra_context
        self.quiet = bool(config.get("quiet"))
        self.trouble: Exception | None = None  # of the launcher, or of the sweep's own files
        self._refuse()
        with open_dict(config):
            config.sweep.name = self.name()
        self._full_error = getattr(task_function, "full_error", None)
        self.task = self.job_class(
            inspect.unwrap(task_function),  # the command's own: what fails is kept by the sweep, not by the command
            sys.argv,
            verbose=bool(config.sweep.verbose) and not self.quiet,
            full_error=self._full_error not in (None, "", "0"),
        )
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=self.task, config=config
        )

    def name(self) -> str:
        """Return the name of the sweep, which is that of its folder."""
        experiment = self.called(str(self.config.hydra.runtime.choices.get("experiment")))
        return naming.sweep_name(self.config.sweep.name, self.overrides(), experiment, self.called)

    def called(self, experiment: str) -> str:
        """Return the name of an experiment, before it that of the user's own folder that it lies in, if it does.

        ``experiment=best`` of two searches are two experiments.
        """
        place = own_folder(self.config.hydra.runtime.config_sources, experiment)
        return experiment if place is None else f"{place.name}_{experiment}"

    def arguments(self) -> list[str]:
        """Return what stands on the command line, but for what is Hydra's."""
        words: Any = OmegaConf.to_container(self.config.hydra.overrides.task, resolve=False)
        return words

    def parsed(self, words: Sequence[str]) -> list[Override]:
        """Return overrides as Hydra reads them."""
        return OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(list(words))

    def overrides(self) -> list[Override]:
        """Return all overrides that the sweep consists of."""
        return self.parsed(self.arguments())

    def sweep(self, arguments: list[str]) -> Any:
        """Run what the command line asks for."""
        raise NotImplementedError

    # ------------------------------------------------------------------ jobs

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Hold the sweep's folder while jobs are run inside, and say at the end what became of all of them.

        Raises:
            RunError: a job failed, or was not finished.
            RequestError: jobs failed, and each because of what was asked for.
            KeyboardInterrupt: the sweep was stopped.
        """
        words: Any = OmegaConf.to_container(self.config.hydra.overrides.hydra, resolve=False)
        given = any(word.startswith("hydra.sweep.dir=") for word in words)
        self.folder = SweepFolder(Path(self.config.hydra.sweep.dir), "hydra.sweep.dir" if given else "sweep.name")
        self.keys: list[str] = []
        try:
            with self.folder.attended(self.task.by):
                yield
        except KeyboardInterrupt as error:
            rows = self.conclude()
            raise KeyboardInterrupt(self.interrupted(rows)) from error
        rows = self.conclude()
        if (failure := self.failures(rows)) is not None:
            raise failure

    def conclude(self) -> list[dict[str, Any]]:
        """Bring ``sweep.json`` up to date, print the tables, and return the rows of this command's jobs."""
        content = self.folder.refresh()
        if not self.quiet:
            display.conclude(self.folder.path, content, self.keys)
        return [row for row in content["jobs"] if row["key"] in self.keys]

    def interrupted(self, rows: list[dict[str, Any]]) -> str:
        """Return what to say of a sweep that was stopped, ``rows`` being those of this command's jobs."""
        return display.interrupted(rows)

    def failures(self, rows: list[dict[str, Any]]) -> Exception | None:
        """Return one error for all that went wrong; None where nothing did."""
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
            jobs: what ``job`` makes of overrides.
            at_a_time: how many are given to the launcher in one go; None: all.
            leaving: the statuses of those that are not run.
            watched: whether to say on the screen how they end, to wait for those that other commands run, and to
                forget what earlier commands were refused; without it, the caller sees to that.
        """
        rows = self.folder.plan(jobs, self.task.command, self.task.by, forget=watched)
        self.keys += [row["key"] for row in rows]
        by_key = {job.key: job for job in jobs}
        # A job that an earlier command began keeps its folder.
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
        """Wait for jobs that other commands work on; return those of them that were not finished there."""
        theirs = [row["key"] for row in self.folder.observe(keys) if row["status"] == "running"]
        if not theirs:
            return []
        if not self.quiet:
            display.waiting(len(theirs))
        with interruptible():
            rows = self.folder.observe(theirs)
            while any(row["status"] == "running" for row in rows):
                time.sleep(LOOK)
                rows = self.folder.observe(theirs)
        return [row for row in rows if row["status"] in ("interrupted", "pending")]

    def job(self, words: Sequence[str], named_by: Iterable[str], config: DictConfig | None = None) -> Job:
        """Return the job that overrides describe.

        Args:
            words: the overrides.
            named_by: the keys whose values its folder is named by.
            config: what they compose, where that is known.

        Raises:
            HydraException: they cannot be composed.
        """
        config = self.composed(words) if config is None else config
        key, overrides = job_key(config), overrides_of(words)
        folder = naming.job_name(overrides, [name.lstrip("+") for name in named_by], key)
        return Job(folder, key, group_key(config), tuple(words), overrides, repetition(config), trained(config))

    def composed(self, words: Sequence[str]) -> DictConfig:
        """Return the config of the job that overrides describe, without Hydra's part.

        Raises:
            HydraException: they cannot be composed.
        """
        config, choices = self.loaded([*words, *self._placed("job")])
        of_one_run(config, choices.get("experiment"))
        return config

    def loaded(self, words: Sequence[str]) -> tuple[DictConfig, dict[str, Any]]:
        """Return what overrides compose, without Hydra's part, and what was chosen of each group.

        Raises:
            HydraException: they cannot be composed.
        """
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(words))
        choices: Any = OmegaConf.to_container(config.hydra.runtime.choices)
        with read_write(config), open_dict(config):
            del config["hydra"]
        return config, choices

    def _placed(self, folder: str) -> list[str]:
        return [f"sweep.name='{self.config.sweep.name}'", f"hydra.sweep.subdir='{folder}'"]

    def _launch(self, words: Sequence[Sequence[str]], start: int) -> None:
        """Have the launcher run jobs; what goes wrong with itself is kept until all has been said."""
        composing = os.environ.pop(FULL_ERROR, None)
        if self._full_error is not None:
            os.environ[FULL_ERROR] = self._full_error
        talkative = [logging.getLogger(name) for name in ("hydra", "hydra_plugins")]  # a line or more a job
        levels = [logger.level for logger in talkative]
        for logger in talkative:
            logger.setLevel(logging.WARNING)
        try:
            with self._stopping():
                for job in self.launcher.launch(words, initial_job_idx=start):
                    if job.status is JobStatus.FAILED:  # not a job's own failure, which is in the list
                        self.trouble = job._return_value
        except (HydraException, RequestError, RunError):
            raise
        except Exception as error:
            self.trouble = error
        finally:
            for logger, level in zip(talkative, levels, strict=True):
                logger.setLevel(level)
            if composing is not None:
                os.environ[FULL_ERROR] = composing

    # ------------------------------------------------------------------ stopping

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Stop on Ctrl-C and SIGTERM, the running jobs saved.

        Where they run in this process they save themselves. Others are told to, and waited for; once more does not
        wait.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        told, in_this_process = False, self.config.hydra.runtime.choices.get("hydra/launcher") == "basic"

        def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            nonlocal told
            if told or in_this_process:
                raise KeyboardInterrupt
            told = True
            for process in self.folder.tell_to_stop(self.task.by):
                os.kill(process, signal.SIGTERM)
            if not self.quiet:
                display.stopping()

        before = {number: signal.signal(number, stop) for number in SIGNALS}
        try:
            yield
        except Exception as error:  # of a launcher whose processes died of the signal as they began
            if told:
                raise KeyboardInterrupt from error
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if told:
            self.folder.forget_stop(self.task.by)  # nobody is left to read it; where nobody waited, it stays
            raise KeyboardInterrupt

    def _refuse(self) -> None:
        """Refuse what has no meaning in a sweep."""
        config, problems = self.config, []
        if config.get("run") is not None:
            problems.append("run: goes on with one run; leave out -m, or repeat the sweep's own command")
        if not isinstance(config.sweep.verbose, bool):
            problems.append(f"sweep.verbose={shown(config.sweep.verbose)}: should be true or false")
        words: Any = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
        if any(word.startswith("hydra.sweep.subdir=") for word in words):
            problems.append("hydra.sweep.subdir: a job's folder is named by its config; leave it out")
        if any(word.key_or_group == "debug" and word.is_sweep_override() for word in self.overrides()):
            problems.append("debug: has one value for all jobs, as theirs is another folder; give one")
        if any(
            word.key_or_group.partition(".")[0] == "sweep" and word.is_sweep_override() for word in self.overrides()
        ):
            problems.append("sweep: has one value for all jobs; give one")
        if problems:
            raise RequestError(*problems)
