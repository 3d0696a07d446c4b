"""Elements of a page: figures to be drawn, tables, text samples and passages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellstate.plotting.theme import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure to be drawn, once for each theme."""

    name: str  # file name in figures/, without suffix
    caption: str  # how to read it
    draw: Callable[[Theme], Figure]
    wide: bool = False  # full page width
    heat: bool = False  # a heat map, which needs more colours


@dataclass(frozen=True)
class Sample:
    """A text that the model generated from ``prompt``."""

    title: str
    text: str
    prompt: str = ""


@dataclass(frozen=True)
class Passage:
    """A text shaded by surprise: (level from 0 to 5, text) for each part."""

    title: str
    caption: str
    levels: Sequence[str]  # meaning of each level
    parts: Sequence[tuple[int, str]]


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows; ``more`` rows are collapsed."""

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Section:
    """The task-specific section of a page."""

    title: str = ""
    drawings: Sequence[Drawing] = ()
    tables: Sequence[Table] = ()
    samples: Sequence[Sample] = ()
    passages: Sequence[Passage] = ()
