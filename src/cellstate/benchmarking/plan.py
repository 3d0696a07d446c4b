"""The runs of a benchmark: composed and checked before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from cellstate.benchmarking import request as asked
from cellstate.benchmarking.request import Problem, Request
from cellstate.config.check import check, debugged, recorded
from cellstate.config.compose import compose, reject_search
from cellstate.config.words import quoted
from cellstate.errors import RequestError
from cellstate.sweep.identity import job_key
from cellstate.sweep.naming import slug
from cellstate.training.resume import trained

PATHS = ("data.path", "data.test_path")
KEY = re.compile(r"[+~]*([\w./@-]+)")  # at the beginning of a problem


@dataclass(frozen=True)
class Job:
    """One run of a benchmark.

    Attributes:
        dataset: name of its data set.
        method: name of its method.
        seed: its seed.
        folder: its run folder.
        log: the file with what it prints.
        words: its overrides on the command line, with absolute paths.
        key: hash of its config, as in a sweep.
        trains: the part of its config that a run must have to be resumed.
        files: the files of its data.
    """

    dataset: str
    method: str
    seed: int
    folder: Path
    log: Path
    words: tuple[str, ...]
    key: str
    trains: Mapping[str, Any] = field(repr=False, compare=False)
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        """Its name on the screen."""
        return f"{self.dataset}, {self.method}, seed {self.seed}"

    @property
    def absent(self) -> list[Path]:
        """The files of its data that do not exist."""
        return [file for file in self.files if not file.exists()]


def plan(
    request: Request, file: Path, *, folder: Path, data_dir: Path | None = None, config_dir: Path | None = None
) -> list[Job]:
    """Return the jobs of a benchmark: all data sets and methods with the first seed, then with the second.

    Raises:
        RequestError: overrides are invalid; one line for each problem.
    """
    base = (data_dir or file.parent).expanduser().absolute()
    problems: list[Problem] = []
    jobs: list[tuple[int, Job]] = []
    for name, dataset in request.datasets.items():
        for method, own in request.methods_of(dataset).items():
            words = [based(word, base) for word in (*request.overrides, *dataset.overrides, *own)]
            try:
                config = checked(words, config_dir)
            except RequestError as error:
                problems += [origin(line, request, name, method) for line in error.problems]
                continue
            seeds = request.seeds_of(dataset)
            jobs += [(at, job_of(config, words, folder, (name, method, seed))) for at, seed in enumerate(seeds)]
    problems += asked.unknown_metrics(request)
    if problems:
        raise asked.located(file, file.read_text(encoding="utf-8"), list(dict.fromkeys(problems)))
    return [job for _, job in sorted(jobs, key=lambda entry: entry[0])]


def checked(words: Sequence[str], config_dir: Path | None) -> DictConfig:
    """Return the composed and checked config of a run.

    Raises:
        RequestError: a key is unknown, or has an invalid value.
    """
    config, _ = compose("train", words, config_dir=config_dir)
    reject_search(config)
    check(config)
    if debugged(config) or config.test is not True:
        raise RequestError("its config sets test or debug, but every run of a benchmark is a result on the test split")
    return config


def based(word: str, base: Path) -> str:
    """Return an override whose path is absolute; any other one unchanged."""
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:  # reported when the config is composed
        return word
    if override.key_or_group not in PATHS or override.is_sweep_override() or not isinstance(override.value(), str):
        return word
    path = base / Path(str(override.value())).expanduser()
    return f"{override.get_key_element()}={quoted(str(path))}"


def job_of(config: DictConfig, words: Sequence[str], folder: Path, name: tuple[str, str, int]) -> Job:
    """Return the job of a checked config, and set its seed."""
    dataset, method, seed = name
    place = Path(slug(dataset), slug(method), f"seed={seed}")
    config.seed = seed
    values = recorded(config)
    paths = (values["data"].get(key.partition(".")[2]) for key in PATHS)
    return Job(
        *name,
        folder=folder / "runs" / place,
        log=folder / "logs" / place.with_name(f"{place.name}.log"),
        words=(*words, f"seed={seed}"),
        key=job_key(config),
        trains=trained(values),
        files=tuple(Path(path) for path in paths if path),
    )


def origin(line: str, request: Request, name: str, method: str) -> Problem:
    """Return a problem of a config with its place in the file: that of the override that it begins with."""
    found = KEY.match(line)
    places = {
        ("methods", method): request.methods[method],
        ("datasets", name, "overrides"): request.datasets[name].overrides,
        ("overrides",): request.overrides,
    }
    for place, words in places.items():
        for number, word in enumerate(words):
            if found is not None and word.partition("=")[0].lstrip("+~") == found[1]:
                return (*place, number), line
    return ("datasets", name), f"with the method {method!r}: {line}"
