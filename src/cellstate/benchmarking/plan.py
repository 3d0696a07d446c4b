"""The runs of a benchmark: composed and checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from cellstate.benchmarking import request as asked
from cellstate.benchmarking.request import DataSet, Problem, Request
from cellstate.config.check import check, debugged, recorded
from cellstate.config.compose import compose, reject_search
from cellstate.config.words import quoted
from cellstate.errors import RequestError
from cellstate.sweep.identity import job_key
from cellstate.sweep.naming import slug
from cellstate.training.resume import trained

PATHS = ("data.path", "data.test_path")
# Keys that the benchmark sets for each of its runs -> what sets them.
RESERVED = {
    "seed": "seeds sets it",
    "run": "the benchmark resumes its runs",
    "resume": "the benchmark resumes its runs",
    "hydra": "the benchmark chooses the folders of its runs",
    "ledger": "set it for the command",
    "quiet": "set it for the command",
    "test": "every run scores the test split",
    "debug": "a debug run is not a result",
    "sweep": "every entry of methods is one run for each seed",
    "comparison": "it belongs to cellstate compare",
}


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
        found: dict[str, list[str]] = {}
        for method, own in request.methods_of(dataset).items():
            words = [based(word, base) for word in (*request.overrides, *dataset.overrides, *own)]
            try:
                config = checked(words, config_dir)
            except RequestError as error:
                found[method] = list(error.problems)
                continue
            seeds = request.seeds_of(dataset)
            jobs += [(at, job_of(config, words, folder, (name, method, seed))) for at, seed in enumerate(seeds)]
        problems += of_methods(name, dataset, found, request)
    problems += asked.unknown_metrics(request)
    if problems:
        raise asked.located(file, file.read_text(encoding="utf-8"), problems)
    return [job for _, job in sorted(jobs, key=lambda entry: entry[0])]


def checked(words: Sequence[str], config_dir: Path | None) -> DictConfig:
    """Return the composed and checked config of a run.

    Raises:
        RequestError: a key is reserved, unknown, or has an invalid value.
    """
    if reserved := list(reserved_keys(words)):
        raise RequestError(*reserved)
    config, _ = compose("train", words, config_dir=config_dir)
    reject_search(config)
    check(config)
    if debugged(config) or config.test is not True:
        raise RequestError("its config sets test or debug, but every run of a benchmark is a result on the test split")
    return config


def reserved_keys(words: Sequence[str]) -> Iterator[str]:
    """Yield a line for each override that a benchmark cannot have."""
    for word in words:
        key = word.partition("=")[0].lstrip("+~").partition(".")[0].partition("/")[0]
        if key in RESERVED:
            yield f"{word}: cannot be set in a benchmark, as {RESERVED[key]}; remove it"


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


def of_methods(name: str, dataset: DataSet, found: Mapping[str, Sequence[str]], request: Request) -> Iterator[Problem]:
    """Yield the problems of a data set: once those of all of its methods, each of the others with its method."""
    place = ("datasets", name, "overrides")
    everywhere = len(found) == len(request.methods_of(dataset))
    common = [line for line in next(iter(found.values()), []) if all(line in lines for lines in found.values())]
    shared = common if everywhere else []
    yield from ((place, line) for line in shared)
    for method, lines in found.items():
        yield from ((place, f"with the method {method!r}: {line}") for line in lines if line not in shared)
