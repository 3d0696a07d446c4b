"""Build the data and the networks at the ends of a space before any trial is started."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from hydra.errors import InstantiationException
from omegaconf import DictConfig

from cellstate.config import check as checking
from cellstate.data import SequenceData
from cellstate.errors import RequestError, did_you_mean
from cellstate.metrics.table import MONITOR
from cellstate.model.size import shapes_alone
from cellstate.runs.quiet import quiet_libraries
from cellstate.scoring.scores import metrics_of
from cellstate.sweep.search.settings import COSTS
from cellstate.training.build import build_data, build_model, model_builder
from cellstate.training.settings import Settings

NETWORK = ("model", "backbone", "optimizer")  # the parts of a config that decide how a network is built
MOST = 64  # networks that are built, without allocating their weights


def check_built(configs: Iterable[DictConfig], objectives: Sequence[str]) -> None:
    """Check that the data of configs can be read, their networks built, and their tasks have the objectives.

    Each data set is read once, and released before the next one.

    Raises:
        RequestError: one line for each distinct problem.
    """
    by_data: dict[str, list[DictConfig]] = {}
    for config in configs:
        by_data.setdefault(_as_text(config, ("data",)), []).append(config)
    problems: dict[str, None] = {}
    left = MOST
    with quiet_libraries():
        for together in by_data.values():
            try:
                data = build_data(Settings.of(together[0]))
                data.lock_test()  # as in every trial
            except (RequestError, InstantiationException) as error:
                problems.update(dict.fromkeys(_problem_lines(error)))
                continue
            networks = list({_as_text(config, NETWORK): config for config in together}.values())
            for config in networks[:left]:
                problems.update(dict.fromkeys(_network_problems(config, data)))
            left = max(0, left - len(networks))
            if not problems:
                tasks = {_as_text(config, ("model",)): config for config in together}.values()
                problems.update(dict.fromkeys(one for config in tasks for one in _lacking(config, data, objectives)))
    if problems:
        raise RequestError(*problems)


def _network_problems(config: DictConfig, data: SequenceData) -> list[str]:
    """Return the problems of building the network and its optimizer, without allocating its weights."""
    part = "backbone"
    try:
        with shapes_alone():
            settings = Settings.of(config)
            model = model_builder(settings, data)()
            part = "optimizer"
            settings.optimizer.factory()(model.parameters())
    except RequestError as error:
        return list(error.problems)
    except ValueError as error:  # contradicting arguments
        return [f"{part}: {error}"]
    except (RuntimeError, TypeError):  # a user-defined one may need real tensors: its run reports problems
        return []
    return []


def _lacking(config: DictConfig, data: SequenceData, objectives: Sequence[str]) -> list[str]:
    """Return a line for each objective that the task does not have."""
    wanted = {one for one in objectives if one not in (*COSTS, MONITOR)}
    if not wanted or "val" not in data.prepared.splits:
        return []
    try:
        known = metrics_of(build_model(Settings.of(config), data), data, wanted)
    except RequestError as error:
        return list(error.problems)
    return [
        f"sweep.objective={one}: unknown metric{did_you_mean(one, {*known, *COSTS})}"
        for one in objectives
        if one in wanted - known
    ]


def _as_text(config: DictConfig, sections: Sequence[str]) -> str:
    """Return sections of a config as text, to compare them."""
    return json.dumps([checking.plain(config[name]) for name in sections], sort_keys=True, default=str)


def _problem_lines(error: Exception) -> list[str]:
    """Return the lines of a RequestError, which Hydra may have wrapped; other errors are raised."""
    cause = error if isinstance(error, RequestError) else error.__cause__
    if not isinstance(cause, RequestError):
        raise error
    return list(cause.problems)
