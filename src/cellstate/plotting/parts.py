"""What a page is made of: figures before they are drawn, tables, samples and passages of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellstate.plotting.theme import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure before it is drawn, as each theme draws it for itself."""

    name: str  # of the file in figures/
    caption: str  # how to read it
    draw: Callable[[Theme], Figure]
    wide: bool = False  # as wide as the page
    heat: bool = False  # a heat map, which takes colours of its own


@dataclass(frozen=True)
class Sample:
    """A piece of text that the model wrote, after a ``prompt`` that it was given."""

    title: str
    text: str
    prompt: str = ""


@dataclass(frozen=True)
class Passage:
    """A text whose parts are shaded by how much each surprised the model: level (0 to 5) and text."""

    title: str
    caption: str
    levels: Sequence[str]  # what each level means
    parts: Sequence[tuple[int, str]]


@dataclass(frozen=True)
class Table:
    """A table whose first cell of a row names it; ``more`` are rows that are seen when asked for."""

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Section:
    """What a task shows beyond its learning curves."""

    title: str = ""
    drawings: Sequence[Drawing] = ()
    tables: Sequence[Table] = ()
    samples: Sequence[Sample] = ()
    passages: Sequence[Passage] = ()
