"""The text formats of the UCR and UEA archives, one labelled sequence per line: ``.ts`` and ``.tsv``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cellstate.data.files.reading import utf8_lines
from cellstate.data.files.sequences import Sequences
from cellstate.errors import RequestError, did_you_mean

MISSING = frozenset({"", "?", "nan", "na", "null"})  # in lower case
TRUE, FALSE = "true", "false"


def read_tsv(path: str, key: str) -> Sequences:
    """Read the UCR archive's ``.tsv`` (Dau et al. 2018): a label, then the values of one feature, separated by tabs.

    The archive pads sequences of different lengths with missing values at the end of the line; these are dropped.

    Raises:
        RequestError: a line (which is named) has no label, no value, or a value that is not a number.
    """
    rows, labels, lines = [], [], []
    for number, line in enumerate(utf8_lines(path, key), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        label, tab, rest = line.partition("\t")
        if not tab:
            raise RequestError(f"{place}: no tab found; a line is LABEL and the values, separated by tabs")
        check_labelled(label, place)
        values = numbers(rest, "\t", place)
        present = np.flatnonzero(~np.isnan(values))
        if not len(present):
            raise RequestError(f"{place}: a label without values; remove the line")
        rows.append(values[: present[-1] + 1, None])
        labels.append(label.strip())
        lines.append(number)
    if not rows:
        raise RequestError(f"{key}={path}: the file contains no sequence")
    return Sequences.of_rows(rows, labels, lines, path)


@dataclass
class Header:
    """The header of a ``.ts`` file, before ``@data``."""

    dimensions: int | None = None
    equal_length: bool = False
    length: int | None = None  # of every sequence
    classes: tuple[str, ...] = field(default=())

    def read(self, line: str, place: str) -> None:
        """Read one line, ``@name value value …``; names that do not describe the format are ignored."""
        name, *values = line[1:].split()
        name, value = name.lower(), values[0].lower() if values else ""
        if name == "classlabel":
            if value in ("", FALSE):
                raise RequestError(f"{place}: the file declares no classes; a classifier needs @classLabel true a b")
            self.classes = tuple(values[1:])
        elif name == "targetlabel" and value == TRUE:
            raise RequestError(f"{place}: the file contains numeric targets (@targetLabel), not classes")
        elif name == "timestamps" and value == TRUE:
            raise RequestError(
                f"{place}: values with timestamps are not supported; resample to equal steps and remove the timestamps"
            )
        elif name == "univariate" and value == TRUE:
            self.dimensions = 1
        elif name in ("dimension", "dimensions"):
            self.dimensions = whole(value, name, place)
        elif name == "equallength":
            self.equal_length = value == TRUE
        elif name == "serieslength":
            self.length = whole(value, name, place)


def whole(text: str, name: str, place: str) -> int:
    """Parse a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise RequestError(f"{place}: @{name} {text}: should be a whole number above 0")
    return int(text)


def read_ts(path: str, key: str) -> Sequences:
    """Read the ``.ts`` of the UEA and UCR archives: a header of ``@name value``, ``@data``, a sequence per line.

    A line is ``v,v,v:v,v,v:label``, one part per dimension; sequences may differ in length, the dimensions of one
    sequence may not. ``?`` and ``NaN`` are missing values. (Bagnall et al., "The UEA multivariate time series
    classification archive", 2018.)

    Raises:
        RequestError: a line (which is named) contradicts the header, has no label, or a value that is not a number.
    """
    header, in_data = Header(), False
    rows, labels, lines = [], [], []
    for number, line in enumerate(utf8_lines(path, key), 1):
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
            raise RequestError(f"{place}: values before the line @data; check that it is not missing")
    if not rows:
        what = "no sequence after @data" if in_data else "no line @data, which ends the header of a .ts file"
        raise RequestError(f"{key}={path}: {what}")
    return Sequences.of_rows(rows, labels, lines, path, declared=header.classes)


def sequence(line: str, header: Header, place: str) -> tuple[NDArray[np.float64], str]:
    """Return values ``(T, F)`` and label of a data line; the first line completes the header where it is silent."""
    *parts, label = line.split(":")
    if header.dimensions is None:
        header.dimensions = max(len(parts), 1)
    if len(parts) == header.dimensions - 1 and label.strip() not in header.classes:
        raise RequestError(f"{place}: no label after the {header.dimensions} dimensions; a line is VALUES:LABEL")
    check_labelled(label, place)
    if len(parts) != header.dimensions:
        raise RequestError(f"{place}: {len(parts)} dimensions, but the others have {header.dimensions}; fix the line")
    label = label.strip()
    if label not in header.classes:
        raise RequestError(f"{place}: the class {label!r} is not in @classLabel{did_you_mean(label, header.classes)}")
    columns = [numbers(part, ",", f"{place}, dimension {order}") for order, part in enumerate(parts, 1)]
    lengths = [len(column) for column in columns]
    for order, length in enumerate(lengths, 1):
        if length != lengths[0]:
            raise RequestError(
                f"{place}: dimension {order} has {length} steps, but dimension 1 has {lengths[0]}; fix the line"
            )
    if header.equal_length:
        header.length = header.length or lengths[0]
        if lengths[0] != header.length:
            raise RequestError(
                f"{place}: {lengths[0]} steps, but @equalLength is true with {header.length} steps; fix the line, or "
                "write @equalLength false"
            )
    return np.stack(columns, axis=1), label


def check_labelled(label: str, place: str) -> None:
    """Reject a missing label (RequestError)."""
    if label.strip().lower() in MISSING:
        raise RequestError(f"{place}: the sequence has no label; add it, or remove the line")


def numbers(text: str, separator: str, place: str) -> NDArray[np.float64]:
    """Parse separated values ``(T,)``, NaN where one is missing."""
    cells = text.split(separator)
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        values = np.array([number(cell, place) for cell in cells])
    if np.isinf(values).any():
        raise RequestError(f"{place}: {cells[int(np.isinf(values).argmax())].strip()!r} is not finite; fix the file")
    return values


def number(cell: str, place: str) -> float:
    """Parse one value, NaN if it is missing."""
    if cell.strip().lower() in MISSING:
        return math.nan
    try:
        return float(cell)
    except ValueError as error:
        raise RequestError(f"{place}: {cell.strip()!r} is not a number; fix the file") from error
