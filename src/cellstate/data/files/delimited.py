"""Delimited text tables: their separator, the line of each row, and diagnosis of malformed ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from cellstate.data.files.reading import utf8_text

SEPARATORS = ",;\t"


def separator_of(header: str) -> str:
    """Return the most frequent separator in a header, ignoring quoted text."""
    bare = "".join(header.split('"')[::2])
    return max(SEPARATORS, key=bare.count)


def read_delimited(file: Path, *, as_text: bool) -> tuple[pl.DataFrame, str]:
    """Read a comma, semicolon or tab separated file; return the table and the separator.

    Dates are kept as text, with ``as_text`` numbers too. Blank rows at the end are dropped.
    """
    with file.open(encoding="utf-8-sig") as stream:
        separator = separator_of(stream.readline())
    frame = pl.read_csv(file, separator=separator, infer_schema_length=None, infer_schema=not as_text)
    names = {name: name.replace('""', '"').strip() for name in frame.columns}
    if len(set(names.values())) == len(names):
        frame = frame.rename(names)
    filled = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    return frame.head(int(filled[-1]) + 1 if len(filled) else 0), separator


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record, header first, with the line of the file where it starts, counted from 1."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator_of(text.partition("\n")[0]))
    line = 1
    for record in reader:
        yield line, record
        line = reader.line_num + 1


def first_lines(file: Path) -> np.ndarray:
    """Return the line where each row after the header starts, counted from 1; quoted cells may contain line breaks."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        return np.array([line for line, _ in _records(stream.read())][1:], dtype=int)


def ragged_line(file: Path, path: str) -> str | None:
    """Return a message on the first line with more or fewer cells than the header, or None; blank lines do not count.

    Raises:
        RequestError: bytes are not valid UTF-8; the line is named.
    """
    records = _records(utf8_text(file, path))
    columns = len(next(records, (1, []))[1])
    for line, record in records:
        if len(record) > columns or (len(record) < columns and any(cell.strip() for cell in record)):
            return f"{path}, line {line}: {len(record)} cells in a table of {columns} columns; fix the file"
    return None


def twice_in_header(file: Path) -> str | None:
    """Return a column name that occurs twice in the file's header, or None."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        header = stream.readline()
    _, names = next(_records(header), (1, []))
    stripped = [name.strip() for name in names]
    return next((name for name in sorted(stripped) if stripped.count(name) > 1), None)
