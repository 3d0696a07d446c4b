"""A benchmark: plan, train what is not complete, write the results. The file to read first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellstate.benchmarking import display, process, tables
from cellstate.benchmarking.outcome import outcome
from cellstate.benchmarking.plan import Job, plan
from cellstate.benchmarking.request import Request, read
from cellstate.benchmarking.state import make_room, state_of
from cellstate.config import options
from cellstate.errors import RequestError, did_you_mean, no_run_folder
from cellstate.report.benchmark import write as write_page
from cellstate.runs.folder import LOCK, shortest
from cellstate.runs.lock import BusyError, Lock
from cellstate.sweep.naming import slug


@dataclass(frozen=True)
class Benchmark:
    """The results of a benchmark.

    Attributes:
        folder: with its runs, tables and page.
        content: the same as in ``benchmark.json``.
        problems: a line for each failed run and each missing file; empty if everything asked for is complete.
    """

    folder: Path
    content: Mapping[str, Any]
    problems: tuple[str, ...]


@options.documented
def benchmark(
    file: options.BenchmarkFile,
    *,
    folder: options.BenchmarkFolder = None,
    data_dir: options.DataFolder = None,
    datasets: options.OnlyDataSets = None,
    methods: options.OnlyMethods = None,
    seeds: options.OnlySeeds = None,
    config_dir: options.ConfigFolder = None,
    ledger: options.Ledger = options.LEDGER,
    quiet: options.Quiet = False,
) -> Benchmark:
    """Train methods on data sets, each with several seeds, and compare them with references and published figures.

    Runs that are complete in ``folder`` are not trained again, and interrupted ones are resumed. Each run has a process
    of its own. A failed run or a missing file does not stop the others.

    Raises:
        RequestError: the file is invalid, or another process works in the folder; nothing was trained.
        RunError: the results cannot be written.
        KeyboardInterrupt: it was stopped; the same call resumes it.
    """
    source = Path(file).expanduser()
    request = read(source)
    own_configs = given_folder("config_dir", config_dir)
    place = Path(folder or Path("outputs", "benchmarks", slug(source.stem))).expanduser().absolute()
    jobs = plan(request, source, folder=place, data_dir=given_folder("data_dir", data_dir), config_dir=own_configs)
    chosen = selected(jobs, datasets, methods, seeds)
    lock = claim(place)
    try:
        work = Work(request, source, place, jobs, process.Stopping(), display.Progress(len(chosen), quiet=quiet))
        with work.stopping.listening():
            failures = work.train(chosen, Path(ledger).expanduser().absolute(), own_configs)
        content = work.publish(failures)
        write_page(place)
    except KeyboardInterrupt as error:
        done = sum(state_of(job) == "complete" for job in chosen)
        raise KeyboardInterrupt(
            f"interrupted: {done} of {len(chosen)} runs complete; the same command resumes it"
        ) from error
    finally:
        lock.release()
    found = (*problems(request, chosen, failures), *unscored(source, content))
    return Benchmark(shortest(place), content, found)


def given_folder(key: str, path: str | Path | None) -> Path | None:
    """Return the absolute path of a folder that the user gave (RequestError if there is none)."""
    if path is None:
        return None
    found = Path(path).expanduser().absolute()
    if not found.is_dir():
        raise RequestError(f"{key}={path}: no such folder")
    return found


def selected(
    jobs: Sequence[Job], datasets: options.OnlyDataSets, methods: options.OnlyMethods, seeds: options.OnlySeeds
) -> list[Job]:
    """Return the jobs of some data sets, methods and seeds.

    Raises:
        RequestError: the benchmark has no such data set, method or seed, or no run of these together.
    """
    numbers = sorted({job.seed for job in jobs})
    draws = numbers if seeds is None else [seeds] if isinstance(seeds, int) else list(seeds)
    sets, unknown = named("datasets", "data set", datasets, [job.dataset for job in jobs])
    ways, problems = named("methods", "method", methods, [job.method for job in jobs])
    unknown += problems
    unknown += [
        f"seeds={seed}: the benchmark has the seeds {', '.join(map(str, numbers))}"
        for seed in draws
        if seed not in numbers
    ]
    if unknown:
        raise RequestError(*unknown)
    chosen = [job for job in jobs if job.dataset in sets and job.method in ways and job.seed in draws]
    if not chosen:
        raise RequestError("the benchmark has no run of these datasets, methods and seeds together; ask for fewer")
    return chosen


def named(key: str, what: str, asked: str | Sequence[str] | None, known: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names that were asked for, by default all, and a line for each that is not known."""
    names = list(dict.fromkeys(known))
    chosen = names if asked is None else [asked] if isinstance(asked, str) else list(asked)
    return chosen, [
        f"{key}={name}: the benchmark has no such {what}{did_you_mean(name, names)}"
        for name in chosen
        if name not in names
    ]


def claim(folder: Path) -> Lock:
    """Create the folder, and lock it until this process ends.

    Raises:
        RequestError: it cannot be created, or another process works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Lock(folder / LOCK)
    except BusyError as error:
        raise RequestError(f"{folder}: another process works on this benchmark; wait for it to end") from error
    except OSError as error:
        raise no_run_folder(folder, error, "folder") from error


@dataclass(frozen=True)
class Work:
    """A benchmark in its folder."""

    request: Request
    source: Path
    folder: Path
    jobs: Sequence[Job]
    stopping: process.Stopping
    progress: display.Progress

    def train(self, chosen: Sequence[Job], ledger: Path, config_dir: Path | None) -> dict[Job, str]:
        """Train what is not complete; return the reason of each failure.

        Raises:
            KeyboardInterrupt: stopped; the results so far are written.
        """
        failures: dict[Job, str] = {}
        waiting = [job for job in chosen if state_of(job) != "complete" and not job.absent]
        self.progress.begin(self.folder, chosen, waiting)
        self.publish(failures)
        for job in waiting:
            self.stopping.wait_for_others(job.folder)
            self.stopping.check()
            make_room(job)
            if state_of(job) != "complete":
                failure = process.train(job, self.stopping, ledger=ledger, config_dir=config_dir)
                if failure or state_of(job) != "complete":
                    failures[job] = failure or "its data was changed while it was trained, or its folder"
            content = self.publish(failures)
            self.progress.ended(job, content)
        return failures

    def publish(self, failures: Mapping[Job, str]) -> dict[str, Any]:
        """Write ``benchmark.json`` and the tables, and return the content."""
        content = outcome(self.request, self.source, self.folder, self.jobs, failures)
        tables.write(self.folder, content)
        return content


def unscored(source: Path, content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each data set whose runs do not have a score in its metric."""
    for dataset in content["datasets"]:
        done = [run for run in content["runs"] if run["dataset"] == dataset["name"] and run["status"] == "complete"]
        for metric in (dataset["metric"], *dataset["also"]):
            if done and not any(metric in run["test"] for run in done):
                known = did_you_mean(metric, done[0]["test"]) if done[0]["test"] else "; the data has no test split"
                yield f"{source}: datasets.{dataset['name']}: its runs have no score in {metric}{known}"


def problems(request: Request, chosen: Sequence[Job], failures: Mapping[Job, str]) -> list[str]:
    """Return a line for each failed run, and for each data set whose files are missing."""
    lines = []
    for name in dict.fromkeys(job.dataset for job in chosen if state_of(job) != "complete"):
        if absent := next((job.absent for job in chosen if job.dataset == name and job.absent), []):
            where = request.datasets[name].files
            lines.append(
                f"{name}: no such file: {', '.join(map(str, absent))}"
                + (f"; available from: {where}" if where else "; check data_dir=FOLDER and its paths")
            )
    return lines + [f"{job.name}: failed: {reason}; log: {shortest(job.log)}" for job, reason in failures.items()]
