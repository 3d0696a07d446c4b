"""The space and fixed overrides of a search, checked before anything is run."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from cellstate.config import check as checking
from cellstate.config.compose import of_one_run
from cellstate.errors import RequestError, did_you_mean
from cellstate.sweep.identity import ASIDE, job_key
from cellstate.sweep.search.settings import Settings
from cellstate.sweep.search.space import PLACE, Parameter, drawn, from_word, in_order, read_space, word_of

if TYPE_CHECKING:
    from cellstate.sweep.search.sweeper import SearchSweeper

MOST = 64  # combinations of choices that are composed for checking


@dataclass
class Asked:
    """The searched parameters and the fixed overrides of a search.

    Attributes:
        config: composed from the command line, without searched values.
        fixed: overrides of all trials.
        space: searched parameters, in order.
        experiment: name of the experiment.
        groups: names of the config groups.
        remarks: notes for the user.
    """

    config: DictConfig
    fixed: list[Override]
    space: list[Parameter]
    experiment: str
    groups: set[str] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, config: DictConfig, overrides: Sequence[Override]) -> Asked:
        """Return the search of a command line.

        A fixed value on the command line removes a key from the space; several values add it.
        """
        space = {one.key: one for one in read_space(checking.plain(config.sweep.space) or {})}
        remarks = []
        fixed = [word for word in overrides if not word.is_sweep_override()]
        for word in overrides:
            key = word.get_key_element().lstrip("+~")
            if word.is_sweep_override():
                space[key] = from_word(word)
            elif key in space:
                del space[key]
                remarks.append(f"{word.input_line} is fixed, and not searched")
        if not space:
            raise RequestError(
                f"{PLACE}: is empty; choose a search with sweep=NAME (cellstate list sweep), or set several values "
                "on the command line, such as backbone.hidden_size=32,64 or "
                "'optimizer.lr=tag(log,interval(1e-4,1e-1))'"
            )
        choices = config.hydra.runtime.choices
        return cls(
            config, fixed, in_order(list(space.values())), str(choices.get("experiment")),
            {str(key) for key in choices}, remarks,
        )  # fmt: skip

    def given(self, key: str) -> Any:
        """Return the value of a key, or the choice of a group, without the search."""
        if key in self.groups:
            return self.config.hydra.runtime.choices.get(key)
        return OmegaConf.select(self.config, key)

    def keys(self) -> Iterator[str]:
        """Yield all keys of the config, such as ``backbone.num_layers``."""
        left: list[tuple[str, Any]] = [("", OmegaConf.to_container(self.config, resolve=False))]
        for prefix, tree in left:
            for key, value in tree.items():
                if (prefix, key) not in (("", "hydra"), ("", "sweep")):
                    yield f"{prefix}{key}"
                    left += [(f"{prefix}{key}.", value)] if isinstance(value, dict) else []

    def words(self, values: Mapping[str, Any]) -> list[str]:
        """Return the overrides of a trial with these values."""
        return [*(str(word.input_line) for word in self.fixed), *(word_of(*pair) for pair in values.items())]

    def identity(self, settings: Settings) -> dict[str, Any]:
        """Return everything that must not change for trials to be comparable."""
        config = copy.deepcopy(self.config)
        with read_write(config), open_dict(config):
            del config["hydra"]
            of_one_run(config, self.experiment)
        words = [word for word in self.fixed if word.key_or_group.lstrip("+~").partition(".")[0] not in ASIDE]
        return {
            "sweep.space": {parameter.key: parameter.as_dict() for parameter in self.space},
            "sweep.objective": list(settings.objectives),
            "sweep.directions": list(settings.directions),
            "sweep.nested": settings.nested,
            "the command": sorted(str(word.input_line) for word in words if not word.is_hydra_override()),
            "hash": job_key(config),
        }


def check_jobs(sweeper: SearchSweeper, asked: Asked) -> None:
    """Check the configs at the ends of the space before any of them is trained."""
    problems: dict[str, None] = {}
    for condition in conditions(asked.space):
        known = {*(one.key for one in asked.space), *asked.groups, *asked.keys()}
        if condition not in known and asked.given(condition) is None:
            problems[f"{PLACE}: 'when' refers to the unknown key {condition}{did_you_mean(condition, known)}"] = None
    if problems:
        raise RequestError(*problems)
    for config, is_first in configs(sweeper, asked):
        if is_first or not problems:  # else common problems would be repeated
            problems.update(dict.fromkeys(_problems(config)))
    if problems:
        raise RequestError(*problems)


def configs(sweeper: SearchSweeper, asked: Asked, words: Sequence[str] = ()) -> Iterator[tuple[DictConfig, bool]]:
    """Yield configs at the ends of the space, and whether each is the first with its groups and conditions."""
    for values in combinations(asked):
        config = sweeper.composed([*asked.words(values), *words])
        yield config, True
        for parameter in asked.space:
            if parameter.key in values and parameter.key not in asked.groups:
                for value in parameter.ends():
                    if value != values[parameter.key]:
                        other = config.copy()
                        OmegaConf.update(other, parameter.key.lstrip("+"), value, force_add=True)
                        yield other, False


def _problems(config: DictConfig) -> list[str]:
    try:
        checking.check(config)
    except RequestError as error:
        return list(error.problems)
    return []


def conditions(space: Sequence[Parameter]) -> list[str]:
    """Return the keys that the conditions of a space refer to."""
    return list(dict.fromkeys(key for parameter in space for key in parameter.when))


def combinations(asked: Asked) -> Iterator[dict[str, Any]]:
    """Yield consistent values of all parameters, one set for each combination of groups and conditions."""
    deciding = [one for one in asked.space if one.key in asked.groups or one.key in conditions(asked.space)]
    for values in itertools.islice(itertools.product(*(one.ends() for one in deciding)), MOST):
        chosen = dict(zip((one.key for one in deciding), values, strict=True))
        yield drawn(asked.space, lambda one, chosen=chosen: chosen.get(one.key, one.ends()[0]), asked.given)
