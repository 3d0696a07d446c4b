"""Building what trials would build, before any of them is begun: the data and the networks at the ends of a space."""

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
MOST = 64  # networks that are built, without memory for their weights


def check_built(configs: Iterable[DictConfig], objectives: Sequence[str]) -> None:
    """Refuse configs whose data cannot be read, whose network cannot be built, or whose task lacks an objective.

    Each data set is read once, and let go before the next one.

    Args:
        configs: at the ends of the space.
        objectives: of the search.

    Raises:
        RequestError: holds one line for each problem; what configs have in common is told once.
    """
    by_data: dict[str, list[DictConfig]] = {}
    for config in configs:
        by_data.setdefault(_written(config, ("data",)), []).append(config)
    problems: dict[str, None] = {}
    left = MOST
    with quiet_libraries():
        for together in by_data.values():
            try:
                data = build_data(Settings.of(together[0]))
                data.lock_test()  # as in every trial
            except (RequestError, InstantiationException) as error:
                problems.update(dict.fromkeys(_told(error)))
                continue
            networks = list({_written(config, NETWORK): config for config in together}.values())
            for config in networks[:left]:
                problems.update(dict.fromkeys(_network_problems(config, data)))
            left = max(0, left - len(networks))
            if not problems:
                tasks = {_written(config, ("model",)): config for config in together}.values()
                problems.update(dict.fromkeys(one for config in tasks for one in _lacking(config, data, objectives)))
    if problems:
        raise RequestError(*problems)


def _network_problems(config: DictConfig, data: SequenceData) -> list[str]:
    """Return what keeps the network and its optimiser from being built; no memory is taken for its weights."""
    part = "backbone"
    try:
        with shapes_alone():
            settings = Settings.of(config)
            model = model_builder(settings, data)()
            part = "optimizer"
            settings.optimizer.factory()(model.parameters())
    except RequestError as error:
        return list(error.problems)
    except ValueError as error:  # their own words about arguments that contradict each other
        return [f"{part}: {error}"]
    except (RuntimeError, TypeError):  # one of the user's own may need real tensors: its run will say what is wrong
        return []
    return []


def _lacking(config: DictConfig, data: SequenceData, objectives: Sequence[str]) -> list[str]:
    """Return a line for each objective that a task does not have."""
    wanted = {one for one in objectives if one not in (*COSTS, MONITOR)}
    if not wanted or "val" not in data.prepared.splits:
        return []
    try:
        known = metrics_of(build_model(Settings.of(config), data), data, wanted)
    except RequestError as error:
        return list(error.problems)
    return [
        f"sweep.objective={one}: there is no such metric{did_you_mean(one, {*known, *COSTS})}"
        for one in objectives
        if one in wanted - known
    ]


def _written(config: DictConfig, sections: Sequence[str]) -> str:
    """Return sections of a config as text, equal for equal ones."""
    return json.dumps([checking.plain(config[name]) for name in sections], sort_keys=True, default=str)


def _told(error: Exception) -> list[str]:
    """Return the lines of a refusal, which Hydra may have wrapped as it made the data.

    Raises:
        InstantiationException: it is none.
    """
    cause = error if isinstance(error, RequestError) else error.__cause__
    if not isinstance(cause, RequestError):
        raise error
    return list(cause.problems)
