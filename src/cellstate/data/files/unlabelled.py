"""Sequences of a user's file that stand without labels, read as the training file was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from cellstate.data.batch import DataSpec
from cellstate.data.datamodule import SequenceData
from cellstate.data.files import labelled
from cellstate.data.files.labelled import LabelledData
from cellstate.data.files.labelled_table import Columns, feature_names, group_numbers, in_order, numeric, pick
from cellstate.data.files.sequences import Sequences
from cellstate.data.files.table import read_table
from cellstate.errors import RequestError

TABLES = (".csv", ".tsv", ".parquet", ".pq")


def read_unlabelled(spec: DataSpec, data: SequenceData, path: str) -> tuple[pl.Series, Sequences]:
    """Return the sequences of a file, and what tells them apart: the ids of a table, else their numbers from 1.

    A table needs no label. The archives' ``.ts`` and ``.tsv`` have one on each line, which is not looked at.

    Raises:
        RequestError: the file cannot be read, or has other features than the model was trained on.
    """
    columns = data.columns if isinstance(data, LabelledData) else Columns()
    suffix = Path(path).suffix.lower()
    if suffix in TABLES and not (suffix == ".tsv" and columns == Columns()):
        key, sequences = read_long(spec, columns, path)
    else:
        sequences = labelled.read(path, "input", Columns())
        key = pl.Series("sequence", np.arange(1, len(sequences) + 1))
    if sequences.values.shape[1] != spec.input_size:
        raise RequestError(
            f"{path}: its sequences have {sequences.values.shape[1]} features "
            f"({', '.join(sequences.names) or 'dimensions'}), and the model reads {spec.input_size}"
        )
    return key, sequences.complete(fill=isinstance(data, LabelledData) and data.missing == "fill")


def read_long(spec: DataSpec, columns: Columns, path: str) -> tuple[pl.Series, Sequences]:
    """Return the ids and the sequences of a table with a row a step; no column of labels is looked at."""
    table = read_table(path, key="input")
    id_column = pick(table, columns.id, "id")
    has_time = columns.time is not None or "time" in table.columns
    time = pick(table, columns.time, "time") if has_time else None
    label = columns.label or "label"
    given = spec.feature_names or columns.features
    names = feature_names(table, given, {id_column, time, label})
    values = np.stack([numeric(table, name) for name in names], axis=1)
    groups = group_numbers(table, id_column)
    order = in_order(table, groups, time, columns.time_format)
    first = np.unique(groups, return_index=True)[1]
    lengths = np.bincount(groups)
    sequences = Sequences(
        values[order], lengths, ("",) * len(lengths), lambda step: table.line(int(order[step])), path, names=names
    )
    return table.frame[id_column].gather(first), sequences
