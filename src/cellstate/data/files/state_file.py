"""Reading sequences of states: one per line, or a table with one row per step and a separator between sequences."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cellstate.data.files.reading import utf8_lines
from cellstate.errors import RequestError, did_you_mean

Format = Literal["lines", "table"]
ONE_PER_LINE = "one sequence per line"
DELIMITERS = {"\t": "tabs", ",": "commas"}


@dataclass(frozen=True)
class StateSequences:
    """All steps of all sequences, concatenated.

    columns: the states of each feature, ``K`` lists of all ``N`` steps.
    lengths: steps of each sequence, ``(S,)``; their sum is ``N``.
    names: of the features, from a table's header; empty without a header.
    described: the recognised format, for messages.
    """

    columns: Sequence[Sequence[str]]
    lengths: np.ndarray
    names: tuple[str, ...] = ()
    described: str = ONE_PER_LINE


@dataclass(frozen=True)
class Layout:
    """How to read a file; None infers it from the file.

    form: ``lines`` or ``table``.
    header: whether a table's first row is a header; None: it is if none of its cells occurs in the rows below.
    separator: content of the cells of a row that separates two sequences, in addition to an empty row.
    columns: columns to read, in this order; None reads all.
    target: the column whose next state is predicted; None uses the first.
    """

    form: Format | None = None
    header: bool | None = None
    separator: str | None = None
    columns: tuple[str, ...] | None = None
    target: str | None = None

    def asks_for_table(self) -> str | None:
        """Return the first option that applies to tables only, as ``data.key=value``, or None."""
        given = {
            "header": None if self.header is None else str(self.header).lower(),
            "separator": self.separator,
            "columns": None if self.columns is None else f"[{','.join(self.columns)}]",
            "target": self.target,
        }
        return next((f"data.{key}={value}" for key, value in given.items() if value is not None), None)


def read_sequences(path: str, layout: Layout) -> StateSequences:
    """Read a UTF-8 file.

    Raises:
        RequestError: the file does not exist, is not UTF-8 or contains no sequence; a row (whose line is named) has the
            wrong number of cells or an empty one; a column does not exist; or table options are given for lines.
    """
    lines = utf8_lines(path, key="data.path")
    if not any(line.strip() for line in lines):
        raise RequestError(f"{path}: the file has no states; write one sequence per line, states separated by spaces")
    option = layout.asks_for_table()
    if layout.form == "lines" and option:
        raise RequestError(f"{option}: applies to tables only, but data.format=lines; remove one of them")
    if layout.form == "lines" or (layout.form is None and not option and delimiter_of(lines) is None):
        return from_lines(lines)
    return from_table(lines, path, layout)


def delimiter_of(lines: Sequence[str]) -> str | None:
    """Return the column separator of a table, or None if each line appears to be a sequence.

    A table has the same non-zero number of tabs, or else commas, as the first line in more than half of the non-empty
    lines. If no line has two states and there are empty lines in between, it is a table of one column.
    """
    filled = [line for line in lines if line.strip()]
    for delimiter in DELIMITERS:
        counts = [line.count(delimiter) for line in filled]
        if counts[0] and 2 * counts.count(counts[0]) > len(filled):
            return delimiter
    last = next(number for number in range(len(lines), 0, -1) if lines[number - 1].strip())
    alone = all(len(line.split()) == 1 for line in filled)
    return "\t" if alone and "" in map(str.strip, lines[:last]) else None


def from_lines(lines: Iterable[str]) -> StateSequences:
    """Return the sequences of lines of states separated by whitespace; empty lines are ignored."""
    sequences = [states for line in lines if (states := line.split())]
    lengths = np.asarray([len(states) for states in sequences], np.int64)
    return StateSequences([list(itertools.chain.from_iterable(sequences))], lengths)


def from_table(lines: Sequence[str], path: str, layout: Layout) -> StateSequences:
    """Return the sequences in the columns of a table that ``layout`` selects."""
    first = next(line for line in lines if line.strip())
    delimiter = next((mark for mark in DELIMITERS if mark in first), "\t")
    blocks = read_blocks(lines, path, delimiter, layout.separator)
    if not blocks:
        raise RequestError(f"{path}: the table contains no states; write one row per step")
    columns = [list(column) for column in zip(*itertools.chain.from_iterable(blocks), strict=True)]
    names = named(columns, layout)
    if names:  # the first row is the header
        columns = [column[1:] for column in columns]
        blocks = [blocks[0][1:], *blocks[1:]]
    lengths = np.asarray([len(block) for block in blocks if block], np.int64)
    if not len(lengths):
        raise RequestError(f"{path}: the table has a header but no rows")
    if twice := sorted(name for name in set(names) if names.count(name) > 1):
        raise RequestError(f"{path}: two columns are called '{twice[0]}'; rename one of them")
    titles = names or tuple(f"column_{number}" for number in range(1, len(columns) + 1))
    chosen = layout.columns or titles
    check_columns("columns", chosen, titles, path)
    check_columns("target", (layout.target or chosen[0],), chosen, path)
    with_what = f", separated by {DELIMITERS[delimiter]}" if len(columns) > 1 else ""
    described = (
        f"a table of {len(columns)} column{'s' if len(columns) > 1 else ''}{with_what}, "
        f"{'with' if names else 'without'} a header"
    )
    return StateSequences([columns[titles.index(name)] for name in chosen], lengths, tuple(chosen), described)


def read_blocks(lines: Sequence[str], path: str, delimiter: str, separator: str | None) -> list[list[list[str]]]:
    """Return the rows of a table, grouped by the separator rows; a row is a list of cells.

    Raises:
        RequestError: a row has more or fewer cells than the first, or only some of its cells are empty.
    """
    blocks: list[list[list[str]]] = [[]]
    width, began = 0, 1
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise RequestError(f"{path}, line {reader.line_num}: cannot be read as a row ({error})") from error
        if cells is None:
            return [block for block in blocks if block]
        line, began = began, reader.line_num + 1  # a quoted cell may span several lines
        cells = [cell.strip() for cell in cells]
        if all(cell in ("", separator) for cell in cells):
            blocks.append([])
            continue
        width = width or len(cells)
        if len(cells) != width:
            raise RequestError(
                f"{path}, line {line}: has {len(cells)} cell{'s' if len(cells) > 1 else ''}, but the first row has "
                f"{width}; fix the row, or set data.format=lines if each line is a sequence"
            )
        if "" in cells:
            raise RequestError(
                f"{path}, line {line}: the cell of column {cells.index('') + 1} is empty but others of its row are "
                "not; fill it, or clear the entire row if a sequence ends there"
            )
        blocks[-1].append(cells)


def named(columns: Sequence[Sequence[str]], layout: Layout) -> tuple[str, ...]:
    """Return the header, or nothing if the first row contains states like the other rows."""
    first = tuple(column[0] for column in columns)
    header = layout.header
    if header is None:
        asked = {layout.target, *(layout.columns or ())}
        header = not asked.isdisjoint(first) or all(
            name not in column[1:] for name, column in zip(first, columns, strict=True)
        )
    return first if header else ()


def check_columns(key: str, wanted: Sequence[str], there: Sequence[str], path: str) -> None:
    """Reject a nonexistent column (RequestError)."""
    for name in wanted:
        if name not in there:
            raise RequestError(f"data.{key}={name}: {path} has no such column{did_you_mean(name, there)}")
