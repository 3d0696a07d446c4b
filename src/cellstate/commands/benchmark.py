"""``cellstate benchmark``: train methods on data sets, and compare them with references and published figures."""

from __future__ import annotations

from functools import reduce

from cellstate.config import options
from cellstate.config.command import command
from cellstate.config.words import verbatim, with_key
from cellstate.errors import RunError

PATHS = ("file", "folder", "data_dir", "config_dir", "ledger")


def rewritten(words: list[str]) -> list[str]:
    """Return the words with the key of the file, and with paths that Hydra takes literally."""
    return reduce(verbatim, PATHS, with_key(words, "file"))


@command("FILE.yaml [folder=FOLDER] [data_dir=FOLDER]", rewrite=rewritten)
def run(
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
) -> None:
    """Train methods on data sets, each with several seeds, beside references and published figures.

    The same command again skips complete runs and resumes interrupted ones.
    """
    from cellstate.benchmarking.display import print_results
    from cellstate.benchmarking.running import benchmark

    done = benchmark(
        file,
        folder=folder,
        data_dir=data_dir,
        datasets=datasets,
        methods=methods,
        seeds=seeds,
        config_dir=config_dir,
        ledger=ledger,
        quiet=quiet,
    )
    print_results(done.folder, done.content)
    if done.problems:
        raise RunError(*done.problems)
