"""The text formats of the UCR and UEA archives, a labelled sequence a line: ``.ts`` and ``.tsv``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cellstate.data.files.reading import existing_file
from cellstate.data.files.sequences import Sequences
from cellstate.errors import RequestError, did_you_mean

MISSING = frozenset({"", "?", "nan", "na", "null"})  # in lower case: what stands where there is no value
TRUE, FALSE = "true", "false"


def read_tsv(path: str, key: str) -> Sequences:
    """Read the UCR archive's ``.tsv`` (Dau et al. 2018): label, tab, values with tabs between, one feature.

    Missing values at the end of a line are how the archive pads sequences of different lengths: they end there.

    Raises:
        RequestError: names the line that has no label, no value, or something else than numbers.
    """
    rows, labels, lines = [], [], []
    for number, line in text_lines(path, key):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        label, tab, rest = line.partition("\t")
        if not tab:
            raise RequestError(f"{place}: no tab in it; a line is LABEL, a tab, and values with tabs between them")
        check_labelled(label, place)
        values = numbers(rest, "\t", place)
        present = np.flatnonzero(~np.isnan(values))
        if not len(present):
            raise RequestError(f"{place}: a label and no value; remove the line")
        rows.append(values[: present[-1] + 1, None])
        labels.append(label.strip())
        lines.append(number)
    if not rows:
        raise RequestError(f"{key}={path}: no sequence in it")
    return Sequences.of_rows(rows, labels, lines, path)


@dataclass
class Header:
    """What a ``.ts`` file says of itself before its ``@data``."""

    dimensions: int | None = None
    equal_length: bool = False
    length: int | None = None  # of every sequence
    classes: tuple[str, ...] = field(default=())

    def read(self, line: str, place: str) -> None:
        """Take in one line, ``@name value value …``; names that say nothing about the data's form are passed over."""
        name, *values = line[1:].split()
        name, value = name.lower(), values[0].lower() if values else ""
        if name == "classlabel":
            self.classes = self._classes(values, place)
        elif name == "targetlabel" and value == TRUE:
            raise RequestError(f"{place}: the file holds numbers to predict (@targetLabel), not classes")
        elif name == "timestamps" and value == TRUE:
            raise RequestError(
                f"{place}: values with timestamps cannot be read; resample to equal steps, and write values alone"
            )
        elif name == "univariate" and value == TRUE:
            self.dimensions = 1
        elif name in ("dimension", "dimensions"):
            self.dimensions = whole(value, name, place)
        elif name == "equallength":
            self.equal_length = value == TRUE
        elif name == "serieslength":
            self.length = whole(value, name, place)

    @staticmethod
    def _classes(values: list[str], place: str) -> tuple[str, ...]:
        if not values or values[0].lower() == FALSE:
            raise RequestError(
                f"{place}: the file says that it has no classes; a classifier needs @classLabel true a b"
            )
        return tuple(values[1:])


def whole(text: str, name: str, place: str) -> int:
    """Return a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise RequestError(f"{place}: @{name} {text}: should be a whole number above 0")
    return int(text)


def read_ts(path: str, key: str) -> Sequences:
    """Read the ``.ts`` of the UEA and UCR archives: a header of ``@name value``, ``@data``, then a sequence a line.

    A line is ``v,v,v:v,v,v:label``, a part for each dimension; sequences may differ in length, the dimensions of one
    may not. ``?`` and ``NaN`` are missing values. (Bagnall et al., "The UEA multivariate time series classification
    archive", 2018.)

    Raises:
        RequestError: names the line that contradicts the header, has no label, or something else than numbers.
    """
    header, in_data = Header(), False
    rows, labels, lines = [], [], []
    for number, line in text_lines(path, key):
        place, line = f"{path}, line {number}", line.strip()
        if not line or line.startswith(("#", "%")):
            continue
        if in_data:
            values, label = sequence(line, header, place)
            rows.append(values)
            labels.append(label)
            lines.append(number)
        elif line.lower() == "@data":
            in_data = True
            if not header.classes:
                raise RequestError(f"{place}: no @classLabel line above it; add the classes, @classLabel true a b")
        elif line.startswith("@"):
            header.read(line, place)
        else:
            raise RequestError(f"{place}: values before the line @data; is it missing?")
    if not rows:
        what = "no sequence after @data" if in_data else "no line @data, which ends the header of a .ts file"
        raise RequestError(f"{key}={path}: {what}")
    return Sequences.of_rows(rows, labels, lines, path, declared=header.classes)


def sequence(line: str, header: Header, place: str) -> tuple[NDArray[np.float64], str]:
    """Return values ``(T, F)`` and label of a line of data; the first tells what the header did not."""
    *parts, label = line.split(":")
    if header.dimensions is None:
        header.dimensions = max(len(parts), 1)
    if len(parts) == header.dimensions - 1 and label.strip() not in header.classes:
        raise RequestError(f"{place}: no label after the {header.dimensions} dimensions; a line is VALUES:LABEL")
    check_labelled(label, place)
    if len(parts) != header.dimensions:
        raise RequestError(f"{place}: {len(parts)} dimensions, the others have {header.dimensions}; mend the line")
    label = label.strip()
    if label not in header.classes:
        raise RequestError(f"{place}: the class {label!r} is none of @classLabel{did_you_mean(label, header.classes)}")
    columns = [numbers(part, ",", f"{place}, dimension {order}") for order, part in enumerate(parts, 1)]
    lengths = [len(column) for column in columns]
    for order, length in enumerate(lengths, 1):
        if length != lengths[0]:
            raise RequestError(
                f"{place}: dimension {order} has {length} steps, dimension 1 has {lengths[0]}; mend the line"
            )
    if header.equal_length:
        header.length = header.length or lengths[0]
        if lengths[0] != header.length:
            raise RequestError(
                f"{place}: {lengths[0]} steps in a file of equal lengths, {header.length}; mend the line, or write "
                "@equalLength false"
            )
    return np.stack(columns, axis=1), label


def text_lines(path: str, key: str) -> Iterator[tuple[int, str]]:
    """Yield number, from 1, and text of each line of a UTF-8 file.

    Raises:
        RequestError: no such file, an empty one, or bytes that are not UTF-8; the line is named.
    """
    with existing_file(path, key).open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise RequestError(
                    f"{path}, line {number}: byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8"
                ) from error


def check_labelled(label: str, place: str) -> None:
    """Refuse a label that is missing."""
    if label.strip().lower() in MISSING:
        raise RequestError(f"{place}: the sequence has no label; add it, or remove the line")


def numbers(text: str, separator: str, place: str) -> NDArray[np.float64]:
    """Return the values of a text ``(T,)``, NaN where one is missing."""
    cells = text.split(separator)
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        values = np.array([number(cell, place) for cell in cells])
    if np.isinf(values).any():
        raise RequestError(f"{place}: {cells[int(np.isinf(values).argmax())].strip()!r} is not finite; mend the file")
    return values


def number(cell: str, place: str) -> float:
    """Return one value, NaN where it is missing."""
    if cell.strip().lower() in MISSING:
        return math.nan
    try:
        return float(cell)
    except ValueError as error:
        raise RequestError(f"{place}: {cell.strip()!r} is no number; mend the file") from error
