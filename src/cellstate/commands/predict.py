"""``cellstate predict``: write a trained model's predictions for a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from cellstate.config import options
from cellstate.config.command import command
from cellstate.errors import RequestError

FORMS = (".csv", ".parquet", ".pq")


@command("checkpoint=RUN input=FILE output=FILE [overwrite=true]")
def run(
    checkpoint: options.Checkpoint,
    input: Annotated[str | Path, Field(description="file to predict from, in the format of the training file")],
    output: Annotated[str | Path, Field(description="file to write, .csv or .parquet")],
    overwrite: options.Overwrite = False,
    trust: options.Trust = (),
) -> None:
    """Predict from a file with a trained model, and write the predictions with the keys of the file."""
    from cellstate.runs.writing import output_path, write_whole

    suffix = Path(output).suffix.lower()
    if suffix not in FORMS:
        raise RequestError(f"output={output}: unknown file format; use .csv or .parquet")
    file = output_path(str(output), overwrite=overwrite)

    from cellstate.scoring.predict import predict_file

    table = predict_file(checkpoint, str(input), trust=trust)

    def write_csv(path: Path) -> None:
        table.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S%.f")

    write_whole(file, write_csv if suffix == ".csv" else table.write_parquet)
    print(f"{table.height:,} row{'s' if table.height != 1 else ''} -> {file}")
