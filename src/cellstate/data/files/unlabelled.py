"""Unlabelled sequences of a user's file, read like the training file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from cellstate.data.batch import DataSpec
from cellstate.data.datamodule import SequenceData
from cellstate.data.files import labelled
from cellstate.data.files.labelled import LabelledData
from cellstate.data.files.labelled_table import Columns, read_long
from cellstate.data.files.sequences import Sequences
from cellstate.errors import RequestError

TABLES = (".csv", ".tsv", ".parquet", ".pq")


def read_unlabelled(spec: DataSpec, data: SequenceData, path: str) -> tuple[pl.Series, Sequences]:
    """Return the sequences of a file and their identifiers: the ids of a table, else their numbers from 1.

    A table needs no label. The labels in the archives' ``.ts`` and ``.tsv`` are ignored.

    Raises:
        RequestError: the file cannot be read, or its features differ from those that the model was trained on.
    """
    columns = data.columns if isinstance(data, LabelledData) else Columns()
    suffix = Path(path).suffix.lower()
    if suffix in TABLES and not (suffix == ".tsv" and columns == Columns()):
        chosen = replace(columns, features=spec.feature_names or columns.features)
        key, sequences = read_long(path, "input", chosen, labelled=False)
    else:
        sequences = labelled.read(path, "input", Columns())
        key = pl.Series("sequence", np.arange(1, len(sequences) + 1))
    if sequences.values.shape[1] != spec.input_size:
        raise RequestError(
            f"{path}: the sequences have {sequences.values.shape[1]} features "
            f"({', '.join(sequences.names) or 'dimensions'}), but the model expects {spec.input_size}"
        )
    return key, sequences.complete(fill=isinstance(data, LabelledData) and data.missing == "fill")
