"""The page of an inspection, ``report.html``: a self-contained file, with arrays and figures next to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cellstate.errors import not_written
from cellstate.inspection.result import Inspection
from cellstate.inspection.summary import layer_columns, layer_rows, summary, walk_columns, walk_rows, walk_title
from cellstate.report.document import discard_others, pictures, write_page

WALKED = 24  # steps of the walk that are visible at first; the others can be expanded
MOST_WALKED = 400


def write(found: Inspection, folder: Path) -> Path:
    """Write ``report.html``, ``arrays.npz`` and ``figures/*.png`` of an inspection, and return the page."""
    from cellstate.inspection.page import figures, heat, memory, reading  # these load matplotlib

    try:
        folder.mkdir(parents=True, exist_ok=True)
        found.write_arrays(folder / "arrays.npz")
        shown = {
            "states": pictures(heat.drawings(found), folder),
            "units": pictures([*figures.saturation(found), *figures.time_constants(found)], folder),
            "gradients": pictures(figures.gradients(found), folder),
            "memory": pictures(memory.memory(found), folder),
            "fields": pictures(memory.fields(found), folder),
        }
        discard_others(folder, [picture for part in shown.values() for picture in part])
        return write_page(
            "inspection.html.jinja",
            folder / "report.html",
            found=found,
            facts=summary(found),
            columns=[" ".join(column) for column in layer_columns(found)],
            rows=layer_rows(found),
            walk=walk_table(found),
            equations=list(equations(found)),
            texts=reading.passages(found),
            followed=reading.table(found),
            **shown,
        )
    except OSError as error:
        raise not_written(folder / "report.html", error) from error


@dataclass(frozen=True)
class Walked:
    """One step of the walk."""

    number: int
    read: str
    answer: str
    rows: list[list[str]]
    equation: str


@dataclass(frozen=True)
class WalkTable:
    """The walk as shown on the page."""

    title: str
    columns: list[str]
    steps: list[Walked]
    more: list[Walked]
    left_out: int


def walk_table(found: Inspection) -> WalkTable:
    """Return the walk, with its first steps separate from the others."""
    steps = [
        Walked(number, read, answer, rows, units[0].equation())
        for (number, read, answer, rows), (_, units) in zip(walk_rows(found), found.walk.steps, strict=True)
    ]
    kept = steps[:MOST_WALKED]
    return WalkTable(walk_title(found), walk_columns(found), kept[:WALKED], kept[WALKED:], len(steps) - len(kept))


def equations(found: Inspection) -> Iterator[str]:
    """Yield the equations of the network."""
    if found.kind == "lstm":
        yield "f = σ(W_f x + U_f h + b_f)   i = σ(W_i x + U_i h + b_i)   o = σ(W_o x + U_o h + b_o)"
        yield "g = tanh(W_c x + U_c h + b_c)   c = f·c + i·g   h = o·tanh(c)"
    elif found.kind == "gru":
        yield "r = σ(W_r x + U_r h + b_r)   z = σ(W_z x + U_z h + b_z)"
        yield "n = tanh(W_n x + b_n + r·(U_n h + b_hn))   h = (1 − z)·n + z·h"
    elif found.kind == "rnn":
        yield "h = φ(W x + U h + b)"
