"""``cellstate predict``: write what a trained model predicts for the sequences of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from omegaconf import DictConfig

from cellstate.config.application import run_application
from cellstate.errors import RequestError

FORMS = (".csv", ".parquet", ".pq")


class Options(TypedDict):
    """The command's own keys."""

    checkpoint: str | None
    input: str | None
    output: str | None
    overwrite: bool
    trust: str | Sequence[str]


def run(words: list[str]) -> int:
    """Run the command."""
    return run_application("predict", task, words)


def task(config: DictConfig) -> None:
    """Predict, and write a CSV or Parquet file by the suffix of its name."""
    from cellstate.config.check import check_values
    from cellstate.runs.writing import output_path, write_whole

    check_values(config, Options)
    lacking = [key for key in ("checkpoint", "input", "output") if config[key] is None]
    if lacking:
        raise RequestError(f"{', '.join(lacking)}: a value is needed; give checkpoint=RUN input=FILE output=FILE")
    suffix = Path(config.output).suffix.lower()
    if suffix not in FORMS:
        raise RequestError(f"output={config.output}: its name does not say what it is; end it with .csv or .parquet")
    file = output_path(config.output, overwrite=config.overwrite)

    from cellstate.scoring.predict import predict_file

    table = predict_file(config.checkpoint, config.input, trust=config.trust)

    def write_csv(path: Path) -> None:
        table.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S%.f")

    write_whole(file, write_csv if suffix == ".csv" else table.write_parquet)
    print(f"{table.height:,} row{'s' if table.height != 1 else ''} -> {file}")
