"""Tables written as text: their separator, the line that a row stands in, and what is wrong with a broken one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

SEPARATORS = ",;\t"


def separator_of(header: str) -> str:
    """Return the separator that stands most often in a header, what is quoted left out."""
    bare = "".join(header.split('"')[::2])
    return max(SEPARATORS, key=bare.count)


def read_delimited(file: Path, *, as_text: bool) -> tuple[pl.DataFrame, str]:
    """Read a file of comma, semicolon or tab separated values; return the table and the separator.

    Dates stay text. Blank rows at the end are left out. With ``as_text`` numbers stay text too.
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
    """Yield each record, the header first, and the line of the file where it begins, counted from 1."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator_of(text.partition("\n")[0]))
    line = 1
    for record in reader:
        yield line, record
        line = reader.line_num + 1


def first_lines(file: Path) -> np.ndarray:
    """Return the line where each row begins, counted from 1, the header left out; quoted cells may hold line breaks."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        return np.array([line for line, _ in _records(stream.read())][1:], dtype=int)


def broken_line(file: Path, path: str) -> str | None:
    """Return what is wrong with which line of a text file: bytes that are no UTF-8, or more cells than columns."""
    raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return f"{path}, line {line}: byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8"
    records = _records(text)
    columns = len(next(records, (1, []))[1])
    for line, record in records:
        if len(record) > columns:
            return f"{path}, line {line}: {len(record)} cells in a table of {columns} columns; mend the file"
    return None


def short_line(file: Path, path: str) -> str | None:
    """Return which line has fewer cells than there are columns; blank lines have none."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        records = _records(stream.read())
    columns = len(next(records, (1, []))[1])
    for line, record in records:
        if 0 < len(record) < columns and any(cell.strip() for cell in record):
            return f"{path}, line {line}: {len(record)} cells in a table of {columns} columns; mend the file"
    return None


def twice_in_header(file: Path) -> str | None:
    """Return a name that two columns bear, by the header as it stands in the file."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        header = stream.readline()
    _, names = next(_records(header), (1, []))
    stripped = [name.strip() for name in names]
    return next((name for name in sorted(stripped) if stripped.count(name) > 1), None)
