"""What was found in a network, as it is told on a terminal: tables, and the walk as lines."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from cellstate.inspection.analysis import HalfMemory, LayerFlow, LineFit, MemoryCurve, Units, order_by_memory
from cellstate.inspection.analysis.walk import signed
from cellstate.inspection.result import Inspection
from cellstate.model.inspector.answers import readable, shortened

LN10 = math.log(10)
LONGEST = 4  # units that are named as keeping longest
WALKED_STEPS = 40  # steps of a walk on the terminal


def tables(found: Inspection, width: int = 80) -> Iterator[Table]:
    """Yield the tables, no wider than ``width`` characters: the layers, then what holds for the network as a whole."""
    yield from layer_tables(found, width)
    facts = Table(box=None, show_header=False, padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in summary(found):
        facts.add_row(name, value)
    yield facts


def layer_tables(found: Inspection, width: int) -> Iterator[Table]:
    """Yield a row for each layer and direction; where that is too wide, a column for each, as many as fit at once."""
    title = f"{found.task or 'network'}: {found.network}"
    columns, rows = layer_columns(found), layer_rows(found)
    whole = table_of(["\n".join(column) for column in columns], rows, title)
    if natural_width(whole) <= width:
        yield whole
        return
    names = [" ".join(column) for column in columns[1:]]
    left = 0
    while left < len(rows):
        for count in range(len(rows) - left, 0, -1):
            part = rows[left : left + count]
            lines = [[name, *(row[place] for row in part)] for place, name in enumerate(names, start=1)]
            table = table_of(["", *(row[0] for row in part)], lines, "" if left else title)
            if natural_width(table) <= width:
                break
        yield table
        left += count


def table_of(columns: list[str], rows: list[list[str]], title: str) -> Table:
    """Return a table whose first column has names, and the others numbers."""
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def natural_width(table: Table) -> int:
    """Return the characters that a table takes where there is room for all of it, its title left out."""
    return Console(width=10_000).measure(table).maximum


def layer_columns(found: Inspection) -> list[tuple[str, str]]:
    """Return the titles of ``layer_rows``, in two lines each."""
    gates = [(f"{gate} gate", "shut / open") for gate in found.units[0].saturation]
    kept = [("time", "constant")] if found.units[0].time_constant is not None else []
    return [("layer", ""), *gates, *kept]


def layer_rows(found: Inspection) -> list[list[str]]:
    """Return a row for each layer and direction: shares of its gates, median time constant."""
    rows = []
    for units in found.units:
        kept = [] if units.time_constant is None else [f"{steps(float(units.time_constant.median()))} {found.steps}"]
        rows.append([units.name, *(shares(units, gate) for gate in units.saturation), *kept])
    return rows


def summary(found: Inspection) -> list[tuple[str, str]]:
    """Return what is known of the network as a whole, name and value."""
    rows = [("looked at", found.sequences)]
    if found.unknown:
        rows.append(("unknown characters", found.unknown))
    if found.patch > 1:
        rows.append(("a patch", f"{found.patch} steps of the series, which are one step of the network"))
    for number, units in enumerate(units for units in found.units if units.time_constant is not None):
        rows.append(("" if number else "units that keep longest", f"{units.name}: {longest(units, found.steps)}"))
    for number, flow in enumerate(found.flow.layers):
        rows.append(("" if number else f"gradient, a {found.step} back", f"{flow.name}: {gradients(flow)}"))
    if found.influence is not None:
        said = half_memory(found.influence, "of what the prediction depends on", interval=found.interval)
        rows.append(("half-memory length", said))
    if found.recall is not None:
        name = "" if found.influence is not None else "half-memory length"
        unit = found.named(found.steps)
        rows.append((name, half_memory(found.recall, "of what can be read off the state", unit)))
    if found.fields:
        rows.append(("receptive field", verdict(found)))
    if found.characters is not None:
        rows += characters(found)
    for number, (what, why) in enumerate(found.left_out.items()):
        rows.append(("" if number else "left out", f"{what}: {why}"))
    return rows


def verdict(found: Inspection) -> str:
    """Return what the check of the receptive field says."""
    if found.problem is not None:
        return f"FAILS: {found.problem}"
    future = (
        "and none sees the future" if "series" in found.fields else "(the future is checked on the data's own splits)"
    )
    return f"every step of the forecast sees the newest input {future}"


def characters(found: Inspection) -> list[tuple[str, str]]:
    """Return the units that follow something readable, a line for each property."""
    assert found.characters is not None
    best = found.characters.following(most=1)
    if not best:
        return [("readable units", "none that chance and an untrained network do not have as well")]
    rows = []
    for number, one in enumerate(best):
        rows.append(("readable units" if not number else "", f"{one.what}: {one.state}[{one.unit}], {one.score}"))
    return rows


def half_memory(curve: MemoryCurve, what: str, unit: str = "steps", *, interval: bool = True) -> str:
    """Return the half-memory length with its interval, in words."""
    half: HalfMemory = curve.half_memory()
    if half.steps is None or half.low is None or half.high is None:
        return f"nothing above chance, {what}"
    least = "at least " if half.censored else ""
    within = f"95 %: {half.low:.1f} to {half.high:.1f}" if interval else "of too few sequences for an interval"
    return f"{least}{half.steps:.1f} {unit} ({within}), {what}"


def shares(units: Units, gate: str) -> str:
    """Return in which share of all steps the gate is shut and open, over the units."""
    share = units.saturation[gate]
    return f"{100 * float(share.shut.mean()):.0f} / {100 * float(share.open.mean()):.0f} %"


def longest(units: Units, unit: str) -> str:
    """Return the units that keep longest with their time constants."""
    taus = units.time_constant
    assert taus is not None
    return ", ".join(
        f"unit {number} ({steps(float(taus[number]))} {unit})" for number in order_by_memory(units)[:LONGEST].tolist()
    )


def steps(tau: float) -> str:
    """Return a time constant in steps."""
    return "∞" if math.isinf(tau) else f"{tau:,.3g}" if tau < 1000 else f"{tau:,.0f}"


def gradients(flow: LayerFlow) -> str:
    """Return by what factor the gradients' norms change with each step back, of h and of c where there is one."""
    parts = [("dL/dh", flow.fit())] + ([] if flow.cell is None else [("dL/dc", flow.fit("cell"))])
    return ", ".join(f"{name} {slope(fit)}" for name, fit in parts)


def slope(fit: LineFit) -> str:
    """Return by what factor a gradient's norm changes with each step back, or its range where it is on no line."""
    if math.isnan(fit.low):
        return "0"
    if math.isnan(fit.slope):
        return f"{power(fit.low / LN10)} at one step alone"
    if fit.straight:
        return f"× {math.exp(fit.slope):.3f}"
    return f"{power(fit.low / LN10)} to {power(fit.high / LN10)}, on no line"


def power(log: float) -> str:
    """Return a number, given by its log10, in a few digits; it may be less than what a number can be."""
    if -2.5 <= log <= 3:
        return f"{10**log:.2g}" if log < 2 else f"{10**log:.0f}"
    exponent = math.floor(log + 1e-9)
    digits = 10 ** (log - exponent)
    raised = f"{exponent}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if abs(digits - 1) < 0.05 else f"{digits:.2g}·10{raised}"


# ---------------------------------------------------------------------- the walk


def walk_title(found: Inspection) -> str:
    """Return what is walked through."""
    names = [unit_name(found, unit) for unit in found.walk.units]
    which = f"unit{'s' if len(names) > 1 else ''} {', '.join(names)} of {found.walk.layer.name}"
    why = "" if found.unit_names else ", on which the loss depends most"
    return f"{found.keys[found.shown]}: {which}{why}"


def unit_name(found: Inspection, unit: int) -> str:
    """Return what to call a unit of the walk."""
    return f"{unit} ({found.unit_names[unit]})" if found.unit_names else str(unit)


def walk_rows(found: Inspection, digits: int = 3) -> Iterator[tuple[int, str, str, list[list[str]]]]:
    """Yield of each step its number from 1, what was read, the prediction so far, and a row of numbers for each unit.

    The row: unit, gates, the state before and after (c of an LSTM), and h.
    """
    for step, units in found.walk.steps:
        rows = []
        for unit in units:
            gates = [signed(value, digits) for value in unit.gates.values()]
            before, after = (
                (unit.hidden_before, unit.hidden)
                if unit.cell is None or unit.cell_before is None
                else (unit.cell_before, unit.cell)
            )
            shown = [signed(before, digits), signed(after, digits)]
            hidden = [] if unit.cell is None else [signed(unit.hidden, digits)]
            rows.append([unit_name(found, unit.unit), *gates, *shown, *hidden])
        read = readable_name(found.reading.names[step]) if step < len(found.reading.names) else ""
        yield step + 1, read, "" if found.answers is None else found.answers.spoken(step), rows


def walk_columns(found: Inspection) -> list[str]:
    """Return the titles of the numbers of a unit's row."""
    state = ["c before", "c after", "h"] if found.kind == "lstm" else ["h before", "h after"]
    return ["unit", *found.walk.columns, *state]


def lines_of_walk(found: Inspection, most: int = WALKED_STEPS) -> Iterator[str]:
    """Yield the walk as lines of text, with the equation of the first unit in numbers."""
    columns = walk_columns(found)
    yield f"a walk through {walk_title(found)}"
    yield f"the equation is that of unit {unit_name(found, found.walk.units[0])}, in numbers"
    width = max([len(unit_name(found, unit)) for unit in found.walk.units] + [4])
    for (number, read, answer, rows), (_, units) in zip(walk_rows(found), found.walk.steps, strict=True):
        if most <= 0:
            yield ""
            yield f"… {len(found.walk.steps) - WALKED_STEPS:,} more {found.steps}, in the page"
            return
        most -= 1
        yield ""
        yield f"{found.step} {number}  reads {read}" + (f"  → {answer}" if answer else "")
        yield "  ".join([f"  {columns[0]:<{width}}", *(f"{title:>8}" for title in columns[1:])])
        for row in rows:
            yield "  ".join([f"  {row[0]:<{width}}", *(f"{value:>8}" for value in row[1:])])
        yield f"  {units[0].equation()}"


def readable_name(text: str) -> str:
    """Return what was read such that it is seen, and no longer than a cell of a table."""
    return readable(text) if len(text) == 1 else shortened(text)
