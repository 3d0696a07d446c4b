"""Reading sequences of states: a sequence a line, or a table with a row a step and a separator between sequences."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cellstate.data.files.reading import existing_file
from cellstate.errors import RequestError, did_you_mean

Format = Literal["lines", "table"]
DELIMITERS = {"\t": "tabs", ",": "commas"}


@dataclass(frozen=True)
class StateSequences:
    """All steps of all sequences, one after the other.

    columns: the states of each feature, ``K`` lists of all ``N`` steps.
    lengths: steps of each sequence, ``(S,)``; their sum is ``N``.
    names: of the features, as a table's header has them; none where there is no header.
    described: what was recognised, for the user.
    """

    columns: Sequence[Sequence[str]]
    lengths: np.ndarray
    names: tuple[str, ...] = ()
    described: str = "a sequence a line"


@dataclass(frozen=True)
class Layout:
    """How a file is to be read; None leaves it to what the file looks like.

    form: ``lines`` or ``table``.
    header: whether a table's first row names its columns; None: it does if none of its cells occurs below it.
    separator: what stands in the cells of a row between two sequences, beside an empty row.
    columns: names of the columns to read, in this order; None reads all.
    target: the column whose next state is predicted; None takes the first.
    """

    form: Format | None = None
    header: bool | None = None
    separator: str | None = None
    columns: tuple[str, ...] | None = None
    target: str | None = None

    def asks_for_table(self) -> str | None:
        """Return the first option that only a table has, as ``data.key=value``, or None."""
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
        RequestError: there is no such file, bytes are not UTF-8, it holds no sequence, a row is ragged or has an empty
            cell (the message has its line), a column is not there, or options of a table are given for lines.
    """
    lines = [line.rstrip("\r") for line in utf8_text(path).split("\n")]
    if not any(line.strip() for line in lines):
        raise RequestError(f"{path}: the file holds no states; write a sequence a line, states separated by spaces")
    option = layout.asks_for_table()
    if layout.form == "lines" and option:
        raise RequestError(f"{option}: has a meaning for tables only, and data.format=lines; leave one of them out")
    if layout.form == "lines" or (layout.form is None and not option and delimiter_of(lines) is None):
        return from_lines(lines)
    return from_table(lines, path, layout)


def utf8_text(path: str) -> str:
    """Return the content of a file, without a byte order mark."""
    raw = existing_file(path, key="data.path").read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RequestError(
            f"{path}, line {line}: byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        ) from error


def delimiter_of(lines: Sequence[str]) -> str | None:
    """Return what separates the columns of a table, or None where the lines look like a sequence each.

    It is a table where more than half of the filled lines have as many tabs, or else commas, as the first, and at least
    one; or where no line has two states and empty lines stand between some: then it is a table of one column.
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
    """Return the sequences of lines of states separated by blanks; empty lines are passed over."""
    sequences = [states for line in lines if (states := line.split())]
    lengths = np.asarray([len(states) for states in sequences], np.int64)
    return StateSequences([list(itertools.chain.from_iterable(sequences))], lengths)


def from_table(lines: Sequence[str], path: str, layout: Layout) -> StateSequences:
    """Return the sequences of a table: those columns that ``layout`` asks for."""
    first = next(line for line in lines if line.strip())
    delimiter = next((mark for mark in DELIMITERS if mark in first), "\t")
    blocks = read_blocks(lines, path, delimiter, layout.separator)
    if not blocks:
        raise RequestError(f"{path}: the table has no row with a state; write a row a step")
    columns = [list(column) for column in zip(*itertools.chain.from_iterable(blocks), strict=True)]
    names = named(columns, layout)
    if names:  # the first row is no step
        columns = [column[1:] for column in columns]
        blocks = [blocks[0][1:], *blocks[1:]]
    lengths = np.asarray([len(block) for block in blocks if block], np.int64)
    if not len(lengths):
        raise RequestError(f"{path}: the table has a header and no rows below it")
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
    """Return the rows of a table in blocks, as separator rows cut it; a row is a list of cells.

    Raises:
        RequestError: a row has more or fewer cells than the first, or an empty one beside others.
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
        line, began = began, reader.line_num + 1  # a cell in quotes may go over several lines
        cells = [cell.strip() for cell in cells]
        if all(cell in ("", separator) for cell in cells):
            blocks.append([])
            continue
        width = width or len(cells)
        if len(cells) != width:
            raise RequestError(
                f"{path}, line {line}: has {len(cells)} cell{'s' if len(cells) > 1 else ''}, the first row has {width};"
                " mend the row, or set data.format=lines if each line is a sequence"
            )
        if "" in cells:
            raise RequestError(
                f"{path}, line {line}: the cell of column {cells.index('') + 1} is empty, and others of its row are "
                "not; fill it, or empty the whole row where a sequence ends"
            )
        blocks[-1].append(cells)


def named(columns: Sequence[Sequence[str]], layout: Layout) -> tuple[str, ...]:
    """Return the names in the first row, none where it holds states as the other rows do."""
    first = tuple(column[0] for column in columns)
    header = layout.header
    if header is None:
        asked = {layout.target, *(layout.columns or ())}
        header = not asked.isdisjoint(first) or all(
            name not in column[1:] for name, column in zip(first, columns, strict=True)
        )
    return first if header else ()


def check_columns(key: str, wanted: Sequence[str], there: Sequence[str], path: str) -> None:
    """Refuse a column that is not there (RequestError)."""
    for name in wanted:
        if name not in there:
            raise RequestError(f"data.{key}={name}: {path} has no such column{did_you_mean(name, there)}")
