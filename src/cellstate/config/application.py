"""Running a command as a Hydra application whose errors reach the command line as they are."""

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
    """One job of a command line, and what went wrong in it."""

    number: int
    overrides: tuple[str, ...]
    error: Exception | None
    in_sweep: bool


def run_application(config_name: str, task: Task, words: list[str], program: str | None = None) -> int:
    """Run ``task`` with the config that ``words`` make of ``conf/CONFIG_NAME.yaml``.

    Hydra prints what goes wrong by itself, at length, and exits. With HYDRA_FULL_ERROR it lets the errors of its own
    work through, so that is set while it composes, and put back to what the user has while the task runs. The
    errors of the task are kept from it, so that a sweep goes on, and raised when all jobs are done.
    """
    options = parse(words)
    before = os.environ.get(FULL_ERROR)
    jobs: list[Job] = []

    @functools.wraps(task)
    def kept_from_hydra(config: DictConfig) -> None:
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

    vars(kept_from_hydra)["full_error"] = before  # for a sweeper that runs the task itself, as that of train does
    register_resolvers()
    arguments, sys.argv = sys.argv, [program or f"cellstate {config_name}", *options_first(words, options.overrides)]
    home = None if (folder := home_of(config_name)) is None else str(folder)
    os.environ[FULL_ERROR] = "1"
    try:
        hydra.main(version_base="1.3", config_path=home, config_name=config_name)(kept_from_hydra)()
    except SystemExit as ended:  # of --help and the like
        return int(ended.code or 0)
    except Exception as error:
        if isinstance(error, BrokenPipeError):  # whoever read --help has seen enough
            raise
        if isinstance(error, OSError) and not isinstance(error, HydraException):
            # In making the run folder: all else that touches files happens within the task.
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
    """Return what Hydra will read of a command line, before it does so.

    Raises:
        RequestError: an option that Hydra does not have, or one without its value; Hydra would print its usage.
    """
    parser = get_args_parser()
    parser.error = _refuse
    options, unknown = parser.parse_known_intermixed_args(list(words))
    if unknown:
        known = [f"--{name.replace('_', '-')}" for name in vars(options) if name != "overrides"]
        raise RequestError(f"{' '.join(unknown)}: unknown option{did_you_mean(unknown[0].partition('=')[0], known)}")
    if options.config_dir is not None and not Path(options.config_dir).is_dir():
        raise RequestError(f"--config-dir {options.config_dir}: no such folder")
    if options.experimental_rerun is not None:  # a pickle, which runs whatever it holds
        raise RequestError("--experimental-rerun: is not supported; resume a run with cellstate train run=FOLDER")
    modes = {"--run": options.run, "-m": options.multirun, "--cfg": options.cfg, "--info": options.info}
    if len(asked := [mode for mode, value in modes.items() if value]) > 1:
        raise RequestError(f"{' and '.join(asked)}: one of them at a time")
    if options.resolve and not (options.cfg or options.help):
        raise RequestError("--resolve: is for --cfg and --help")
    return options


def _refuse(message: str) -> NoReturn:
    """Raise what argparse would print with its usage before it exits."""
    raise RequestError(message.removeprefix("argument "))


def options_first(words: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return the words with all overrides at the end: Hydra does not understand any that stand after an option."""
    options = list(words)
    for override in overrides:
        options.remove(override)
    return [*options, *overrides]


def _this_job(error: Exception | None) -> Job:
    config, swept = HydraConfig.get(), in_sweep()
    overrides: Any = OmegaConf.to_container(config.overrides.task, resolve=False)  # seed=${...} is a text here
    return Job(config.job.num if swept else 0, tuple(overrides), error, swept)


def summary(jobs: Sequence[Job]) -> Exception | None:
    """Return one error for all jobs that failed, each named by the overrides that the others do not share.

    The error of a single run is returned as it is; None where nothing failed.
    """
    failed = [job for job in jobs if job.error is not None]
    if not failed or not failed[0].in_sweep:
        return failed[0].error if failed else None
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    problems = []
    for job in failed:
        name = f"job {job.number} ({' '.join(word for word in job.overrides if word not in shared)})"
        problems += [f"{name}: {line}" for line in _problems(job.error)]
    all_refused = all(isinstance(job.error, RequestError) for job in failed)
    return RequestError(*problems) if all_refused else RunError(*problems)


def _problems(error: Exception | None) -> Iterator[str]:
    if isinstance(error, CellstateError):
        yield from error.problems
    else:
        yield f"{type(error).__name__}: {error}; HYDRA_FULL_ERROR=1 shows where"


def _restore(value: str | None) -> None:
    if value is None:
        os.environ.pop(FULL_ERROR, None)
    else:
        os.environ[FULL_ERROR] = value
