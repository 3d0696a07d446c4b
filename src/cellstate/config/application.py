"""Run a command as a Hydra application whose errors are raised unchanged."""

from __future__ import annotations

import argparse
import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser  # private: docs/design.md says why it is used
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from cellstate.config.compose import in_sweep, register_resolvers
from cellstate.config.explain import explain
from cellstate.config.paths import home_of, search_path
from cellstate.errors import CellstateError, RequestError, RunError, did_you_mean, no_run_folder

FULL_ERROR = "HYDRA_FULL_ERROR"
Task = Callable[[DictConfig], None]


@dataclass(frozen=True)
class Job:
    """One job of a command line, and its error, if any."""

    number: int
    overrides: tuple[str, ...]
    error: Exception | None
    in_sweep: bool


def run_application(config_name: str, task: Task, words: list[str], program: str | None = None) -> int:
    """Run ``task`` with the config ``conf/CONFIG_NAME.yaml`` and the overrides in ``words``.

    By default Hydra prints errors and exits. With HYDRA_FULL_ERROR it raises errors of its own, so that is set while it
    composes, and restored to the user's value while the task runs. Errors of the task are hidden from Hydra, so that a
    sweep continues, and raised when all jobs have finished.
    """
    options = parse(words)
    before = os.environ.get(FULL_ERROR)
    jobs: list[Job] = []

    @functools.wraps(task)
    def without_errors(config: DictConfig) -> None:
        _restore(before)
        failure: Exception | None = None
        try:
            task(config)
        except Exception as error:
            failure = error
        finally:
            os.environ[FULL_ERROR] = "1"
        jobs.append(_this_job(failure))
        if failure is not None and jobs[-1].in_sweep and before not in (None, "", "0"):
            traceback.print_exception(failure)

    vars(without_errors)["full_error"] = before  # for a sweeper that runs the task itself, like that of train
    register_resolvers()
    arguments, sys.argv = sys.argv, [program or f"cellstate {config_name}", *options_first(words, options.overrides)]
    home = None if (folder := home_of(config_name)) is None else str(folder)
    os.environ[FULL_ERROR] = "1"
    try:
        hydra.main(version_base="1.3", config_path=home, config_name=config_name)(without_errors)()
    except SystemExit as ended:  # from --help and similar
        return int(ended.code or 0)
    except Exception as error:
        if isinstance(error, BrokenPipeError):  # the reader of --help has closed the pipe
            raise
        if isinstance(error, OSError) and not isinstance(error, HydraException):
            # From creating the run folder: all other file access is in the task.
            raise no_run_folder(error.filename or ".", error) from error
        overrides = [*options.overrides, *search_path(options.config_dir)]
        several = options.multirun or any(word.startswith("hydra.mode=") for word in options.overrides)
        explanation = explain(error, options.config_name or config_name, overrides, multirun=several)
        raise explanation from (None if explanation is error else error)
    finally:
        sys.argv = arguments
        _restore(before)
    if (failure := summary(jobs)) is not None:
        raise failure
    return 0


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line with Hydra's parser, before Hydra does so.

    Raises:
        RequestError: an unknown option or one without a value, for which Hydra would print its usage.
    """
    parser = get_args_parser()
    parser.error = _raise_error
    options, unknown = parser.parse_known_intermixed_args(list(words))
    if unknown:
        known = [f"--{name.replace('_', '-')}" for name in vars(options) if name != "overrides"]
        raise RequestError(f"{' '.join(unknown)}: unknown option{did_you_mean(unknown[0].partition('=')[0], known)}")
    if options.config_dir is not None and not Path(options.config_dir).is_dir():
        raise RequestError(f"--config-dir {options.config_dir}: no such folder")
    if options.experimental_rerun is not None:  # a pickle, which can run code
        raise RequestError("--experimental-rerun: is not supported; resume a run with cellstate train run=FOLDER")
    modes = {"--run": options.run, "-m": options.multirun, "--cfg": options.cfg, "--info": options.info}
    if len(asked := [mode for mode, value in modes.items() if value]) > 1:
        raise RequestError(f"{' and '.join(asked)}: are mutually exclusive")
    if options.resolve and not (options.cfg or options.help):
        raise RequestError("----resolve: requires --cfg or --help")
    return options


def _raise_error(message: str) -> NoReturn:
    """Raise the error that argparse would print before it exits."""
    raise RequestError(message.removeprefix("argument "))


def options_first(words: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return the words with all overrides at the end, as Hydra does not accept them between options."""
    options = list(words)
    for override in overrides:
        options.remove(override)
    return [*options, *overrides]


def _this_job(error: Exception | None) -> Job:
    config, swept = HydraConfig.get(), in_sweep()
    overrides: Any = OmegaConf.to_container(config.overrides.task, resolve=False)  # seed=${...} stays a string here
    return Job(config.job.num if swept else 0, tuple(overrides), error, swept)


def summary(jobs: Sequence[Job]) -> Exception | None:
    """Return one error for all failed jobs, each named by the overrides that differ between jobs.

    The error of a single run is returned unchanged; None if nothing failed.
    """
    failed = [job for job in jobs if job.error is not None]
    if not failed or not failed[0].in_sweep:
        return failed[0].error if failed else None
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    problems = []
    for job in failed:
        name = f"job {job.number} ({' '.join(word for word in job.overrides if word not in shared)})"
        problems += [f"{name}: {line}" for line in _problems(job.error)]
    all_rejected = all(isinstance(job.error, RequestError) for job in failed)
    return RequestError(*problems) if all_rejected else RunError(*problems)


def _problems(error: Exception | None) -> Iterator[str]:
    if isinstance(error, CellstateError):
        yield from error.problems
    else:
        yield f"{type(error).__name__}: {error}; HYDRA_FULL_ERROR=1 shows the traceback"


def _restore(value: str | None) -> None:
    if value is None:
        os.environ.pop(FULL_ERROR, None)
    else:
        os.environ[FULL_ERROR] = value
