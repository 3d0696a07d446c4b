"""Score trained networks on data of other sizes than in training, such as longer sequences.

A network that was trained on sequences of 10 steps is scored on 20, 40 and 80 steps without further training, on the
validation split; the test split stays locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cellstate.checkpoint.trust import Trust
from cellstate.errors import RequestError, did_you_mean
from cellstate.scoring.evaluate import evaluate
from cellstate.sweep.compare import cache
from cellstate.sweep.compare.sizes import with_value
from cellstate.training.build import build_data
from cellstate.training.settings import Settings

FILE = "generalised.json"
SECTION = "data."
Scores = dict[str, dict[str, Any]]  # value as text -> metrics and reference of the validation split


def check(config: DictConfig, key: str, values: Sequence[Any]) -> None:
    """Check the values of a data key before any network is trained.

    Raises:
        RequestError: the data has no such argument, or rejects a value.
    """
    name = key.removeprefix(SECTION)
    if OmegaConf.select(config, key) is None:
        raise RequestError(f"comparison.generalise: unknown key {key}{did_you_mean(name, config.data)}")
    for value in values:
        with naming():
            build_data(Settings.of(with_value(config, key, value)))


def generalised(
    folder: Path, rows: Iterable[Mapping[str, Any]], key: str, values: Sequence[Any], trust: Trust
) -> dict[str, Scores]:
    """Return run folder -> value -> ``metrics`` and ``reference``; scores are cached in a file."""
    file = folder / FILE
    found: dict[str, dict[str, Scores]] = cache.read(file)
    for row in rows:
        own = found.setdefault(row["folder"], {}).setdefault(key, {})
        wanted = [value for value in values if str(value) not in own]
        for value in wanted:
            with naming():
                scored = evaluate(
                    folder / row["folder"],
                    {key.removeprefix(SECTION): value},
                    allow_changed_data=True,
                    test=False,
                    trust=trust,
                )
            own[str(value)] = {"metrics": scored.metrics["val"], "reference": scored.reference}
        if wanted:
            cache.write(file, found)
    return {name: keys[key] for name, keys in found.items() if key in keys}


@contextmanager
def naming() -> Iterator[None]:
    """Prefix errors with the key ``comparison.generalise``."""
    try:
        yield
    except RequestError as error:
        raise RequestError(*(f"comparison.generalise: {problem}" for problem in error.problems)) from error
