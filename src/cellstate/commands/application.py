"""Running a command as a Hydra application whose errors reach the command line as they are."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

import hydra
from omegaconf import DictConfig

from cellstate.composition import config_folder, register_resolvers
from cellstate.request import explain

FULL_ERROR = "HYDRA_FULL_ERROR"


def run_application(
    config_name: str, task: Callable[[DictConfig], None], words: list[str], program: str | None = None
) -> int:
    """Run ``task`` with the config that ``words`` make of ``conf/CONFIG_NAME.yaml``.

    Hydra prints what goes wrong by itself, at length, and exits. With HYDRA_FULL_ERROR it lets the errors of its own
    work through, so that is set while it composes, and put back to what the user has while the task runs. The
    errors of the task are kept from it, and raised when it is done.
    """
    before = os.environ.get(FULL_ERROR)
    failures: list[Exception] = []

    @functools.wraps(task)
    def kept_from_hydra(config: DictConfig) -> None:
        _restore(before)
        try:
            task(config)
        except Exception as error:
            failures.append(error)
        finally:
            os.environ[FULL_ERROR] = "1"

    register_resolvers()
    arguments, sys.argv = sys.argv, [program or f"cellstate {config_name}", *words]
    os.environ[FULL_ERROR] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_name)(kept_from_hydra)()
    except Exception as error:
        raise explain(error, config_name, [word for word in words if "=" in word]) from error
    finally:
        sys.argv = arguments
        _restore(before)
    if failures:
        raise failures[0]
    return 0


def _restore(value: str | None) -> None:
    if value is None:
        os.environ.pop(FULL_ERROR, None)
    else:
        os.environ[FULL_ERROR] = value
