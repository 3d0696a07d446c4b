"""Scoring trained networks on data of other sizes than they were trained on: where does each begin to forget?

A network that was trained on sequences of 10 steps is asked for the same over 20, 40 and 80, as it is. The validation
split of such data is scored; the test split stays locked.
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
from cellstate.sweep.compare import kept
from cellstate.sweep.compare.sizes import with_value
from cellstate.training.build import build_data
from cellstate.training.settings import Settings

FILE = "generalised.json"
SECTION = "data."
Scores = dict[str, dict[str, Any]]  # value as text -> metrics and reference of the validation split


def check(config: DictConfig, key: str, values: Sequence[Any]) -> None:
    """Refuse data that networks of this config could not be asked about, before any of them is trained.

    Raises:
        RequestError: the data has no such argument, or no such value of it.
    """
    name = key.removeprefix(SECTION)
    if OmegaConf.select(config, key) is None:
        raise RequestError(f"comparison.generalise: the data has no number {key}{did_you_mean(name, config.data)}")
    for value in values:
        with naming():
            build_data(Settings.of(with_value(config, key, value)))


def generalised(
    folder: Path, rows: Iterable[Mapping[str, Any]], key: str, values: Sequence[Any], trust: Trust
) -> dict[str, Scores]:
    """Return run folder -> value -> ``metrics`` and ``reference``, scoring what was not scored before.

    Args:
        folder: the comparison's; what was scored is kept in it after each run.
        rows: of the runs that are complete.
        key: of the data, such as ``data.length``.
        values: what it is set to.
        trust: packages whose classes the runs use.

    Raises:
        RequestError: a network cannot read such data.
    """
    file = folder / FILE
    found: dict[str, dict[str, Scores]] = kept.read(file)
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
            kept.write(file, found)
    return {name: keys[key] for name, keys in found.items() if key in keys}


@contextmanager
def naming() -> Iterator[None]:
    """Name in an error the key that asks for it."""
    try:
        yield
    except RequestError as error:
        raise RequestError(*(f"comparison.generalise: {problem}" for problem in error.problems)) from error
